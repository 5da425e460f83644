"""A snapshot's result as a person reads it in a terminal."""

from __future__ import annotations

import shlex

import click

from curator.snapshot import SnapshotResult

REASONS = {
    "file-gone": "every file is gone",
    "rejected": "a person rejected them; --keep-rejected has them in it",
    "where": "--where doesn't hold",
    "missing-caption": "not captioned in every version",
}


def account(result: SnapshotResult) -> str:
    """What was made, what is in it, what was left out."""
    state = "already there, unchanged" if result.unchanged else f"a snapshot of {result.dataset}"
    lines = [f"{click.style(result.folder, bold=True)}: {state}", "", _line("identity", result.identity)]
    lines.append(_line("train", _images(result.train)))
    lines.append(_line("held out", _images(result.held_out)))
    width = max(len(track.column) for track in result.tracks)
    for track in result.tracks:
        empty = f", {track.empty:,} empty" if track.empty else ""
        lines.append(_line("track", f"{track.column:<{width}}  {track.version}: {track.captions:,} captions{empty}"))
    for reason, images in result.left_out.items():
        detail = f" ({_without(result)})" if reason == "missing-caption" else ""
        lines.append(_line("left out", f"{_images(images)}: {REASONS[reason]}{detail}"))
    lines += [_line("licence", f"{_images(images)}: {license}") for license, images in result.licenses.items()]
    how = ", ".join(f"{images} {method}" for method, images in sorted(result.placed.items()))
    lines.append(_line("files", f"{result.size_bytes / 1e6:.1f} MB of images{f', {how}' if how else ''}"))
    lines += [click.style(f"\nNote: {note}", fg="yellow") for note in result.notes]
    return "\n".join([*lines, "", f"Next: trainer check {shlex.quote(str(result.folder))} --base MODEL"])


def _line(what: str, value: str) -> str:
    return f"  {what:<9} {value}"


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def _without(result: SnapshotResult) -> str:
    return ", ".join(f"{images} without {name}" for name, images in result.without_caption.items() if images)
