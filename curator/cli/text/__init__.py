"""Everything the commands print; here what several of them do."""

from __future__ import annotations

from collections.abc import Mapping

import click


def figures(counts: Mapping[str, int]) -> list[str]:
    """A line for each count that isn't zero."""
    return [figure(count, name) for name, count in counts.items() if count]


def figure(count: int, name: str, colour: str | None = None) -> str:
    """A count and what it counts."""
    return click.style(f"{count:>9,}", fg=colour) + f"  {name}"


def minute(moment: str) -> str:
    """A time to the minute."""
    return moment[:16].replace("T", " ") + "Z"
