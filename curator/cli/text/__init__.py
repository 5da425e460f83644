"""Text of results for people; shared parts."""

from __future__ import annotations

from collections.abc import Mapping

import click


def figures(counts: Mapping[str, int]) -> list[str]:
    """Return a line per count that isn't zero."""
    return [figure(count, name) for name, count in counts.items() if count]


def figure(count: int, name: str, colour: str | None = None) -> str:
    return click.style(f"{count:>9,}", fg=colour) + f"  {name}"


def minute(moment: str) -> str:
    return moment[:16].replace("T", " ") + "Z"
