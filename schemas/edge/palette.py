"""The colours and fonts of every page, light and dark (`palette.css`), and what the comparison pages share."""

from __future__ import annotations

from pathlib import Path

COMPARISON = Path(__file__).with_name("comparison.css")


def stylesheet(*files: Path) -> str:
    """Return the palette and, after it, these CSS files."""
    palette = Path(__file__).with_suffix(".css")
    return "".join(file.read_text(encoding="utf-8") for file in (palette, *files))
