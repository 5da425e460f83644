"""The empty caption for every image: the baseline that shows the worth of captions.

curator caption openmoji --strategy empty --set empty
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from curator.captioners import StrategyOptions, captions

if TYPE_CHECKING:
    import polars as pl

VERSION = 1


class Options(StrategyOptions):
    """No options."""


def fields(options: Options, available: list[str]) -> list[str]:
    return []


def caption(batch: pl.DataFrame, options: Options) -> pl.DataFrame:
    import polars as pl

    return captions(batch.select(pl.repeat("", pl.len()).alias("text")).to_series())
