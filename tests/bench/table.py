"""What a benchmark returns: ratios against a named baseline of the same run, so that anyone can repeat the claim."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table. `ratio` above 1 means that many times the baseline's rate."""

    name: str
    baseline: str
    ratio: float
    detail: str
