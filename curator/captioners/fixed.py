"""The same caption for every image, such as a trigger word.

curator caption openmoji --strategy fixed --set fixed -o 'text=openmoji drawing'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from curator.captioners import StrategyOptions, captions

if TYPE_CHECKING:
    import polars as pl

VERSION = 1


class Options(StrategyOptions):
    text: str = Field(
        min_length=1, description="The caption. For empty captions use `empty`.", examples=["openmoji drawing"]
    )


def fields(options: Options, available: list[str]) -> list[str]:
    return []


def caption(batch: pl.DataFrame, options: Options) -> pl.DataFrame:
    import polars as pl

    return captions(batch.select(pl.repeat(options.text, pl.len()).alias("text")).to_series())
