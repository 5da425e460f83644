"""Text of `curator snapshot`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from curator.snapshot.result import SnapshotFacts, SnapshotPreview, SnapshotResult
from schemas.edge.words import plural, size

REASONS = {
    "file-gone": "every file is gone",
    "rejected": "rejected by a person; include them with --keep-rejected",
    "where": "excluded by --where",
    "missing-caption": "not captioned in every version",
}


def text_of_snapshot(result: SnapshotResult) -> str:
    state = "exists already, unchanged" if result.unchanged else f"a snapshot of {result.dataset}"
    lines = [f"{click.style(result.folder, bold=True)}: {state}", "", *_facts(result)]
    methods = ", ".join(f"{images} {method}" for method, images in sorted(result.placed.items()))
    lines.append(_line("files", f"{size(result.size_bytes)} of images{f', {methods}' if methods else ''}"))
    lines += _notes(result)
    words = ["trainer", "check", str(result.folder), "--base", "stable-diffusion-v1-5/stable-diffusion-v1-5"]
    return "\n".join([*lines, "", f"Next: {shlex.join(words)}"])


def text_of_preview(result: SnapshotPreview, out: Path) -> str:
    state = "exists already with this content" if result.unchanged else f"would be a snapshot of {result.dataset}"
    lines = [f"{click.style(out, bold=True)}: {state}", "", *_facts(result)]
    lines.append(_line("new", f"{result.train_new:,} in train and {result.held_out_new:,} held out for the first time"))
    if result.groups:
        held_out = f", {result.groups_held_out:,} of them held out" if result.groups_held_out else ""
        lines.append(_line("together", f"{plural(result.groups, 'near-duplicate group')}{held_out}"))
    lines.append(_line("files", f"{size(result.size_bytes)} of images"))
    lines += _notes(result)
    return "\n".join(
        [*lines, "", "Nothing was written. Without --dry-run, the snapshot is written and the split stored."]
    )


def _facts(result: SnapshotFacts) -> list[str]:
    lines = [_line("identity", result.identity)]
    lines.append(_line("train", plural(result.train, "image")))
    lines.append(_line("held out", plural(result.held_out, "image")))
    width = max(len(track.column) for track in result.tracks)
    for track in result.tracks:
        empty = f", {track.empty:,} empty" if track.empty else ""
        lines.append(_line("track", f"{track.column:<{width}}  {track.version}: {track.captions:,} captions{empty}"))
    for reason, images in result.left_out.items():
        detail = f" ({_without(result)})" if reason == "missing-caption" else ""
        lines.append(_line("left out", f"{plural(images, 'image')}: {REASONS[reason]}{detail}"))
    lines += [_line("licence", f"{plural(images, 'image')}: {license}") for license, images in result.licenses.items()]
    return lines


def _notes(result: SnapshotFacts) -> list[str]:
    return [click.style(f"\nNote: {note}", fg="yellow") for note in result.notes]


def _line(label: str, value: str) -> str:
    return f"  {label:<9} {value}"


def _without(result: SnapshotFacts) -> str:
    return ", ".join(f"{images} without {name}" for name, images in result.without_caption.items() if images)
