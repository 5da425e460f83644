"""Text of `curator ingest`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from curator.datasets.first_captions import first_captions
from curator.ingest import IngestResult
from schemas.edge.words import duration, plural


def text_of_ingest(result: IngestResult, fields: Sequence[str] = ()) -> str:
    """Three lines of counts, the notes, and the next step; `fields` are the metadata's."""
    lines = [f"{click.style(result.dataset, bold=True)}: {result.root}  ({duration(result.seconds)})", ""]
    lines += [_line(result.files, "file", _changes(result)), _line(result.images, "image", _copies(result))]
    rejects = ", ".join(f"{reason} {count:,}" for reason, count in result.rejects_by_reason.items())
    lines.append(_line(result.rejects, "reject", rejects, "yellow" if result.rejects else None))
    lines += ["", *(f"Note: {note}" for note in result.notes)]
    if result.rejects:
        lines.append(f"Next: curator rejects {result.dataset}")
    elif is_next_to_caption(result):
        lines.append(f"Next: {first_captions(result.dataset, fields)}")
    elif not result.images:
        lines.append(f"There is no image in {result.root}.")
    return "\n".join(lines).rstrip()


def is_next_to_caption(result: IngestResult) -> bool:
    """Return whether captioning is the next step: images are new or changed, and nothing was rejected."""
    return bool(not result.rejects and result.images and (result.added or result.changed or result.corrected))


def _line(count: int, noun: str, detail: str, colour: str | None = None) -> str:
    figure, nouns = plural(count, noun).split()
    return click.style(f"{figure:>9} {nouns:<8}", fg=colour) + f"  {detail}".rstrip()


def _changes(result: IngestResult) -> str:
    counts = {
        "new": result.added,
        "changed": result.changed,
        "with corrected metadata": result.corrected,
        "unchanged": result.unchanged,
        "unusable": result.files - result.added - result.changed - result.corrected - result.unchanged,
        "gone since the last run": result.gone,
    }
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def _copies(result: IngestResult) -> str:
    parts = []
    if result.duplicate_paths:
        parts.append(f"at {result.paths:,} paths")
    if result.near_duplicate_groups:
        groups = plural(result.near_duplicate_groups, "group")
        parts.append(f"{result.near_duplicate_images:,} near-duplicates in {groups}")
    return ", ".join(parts) or ("no duplicates" if result.images else "")
