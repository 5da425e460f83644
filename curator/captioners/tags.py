"""Captions from booru tags: "1girl, hatsune miku, blue hair", ordered, cleaned and cut.

    curator caption booru --strategy tags --set tags -o drop=highres,absurdres -o limit=30
    curator caption booru --strategy tags --set tags -o column=tags -o categories=@categories.txt -o shuffle_seed=1

Tags come from the columns `tag_string_<category>`, or from one `column`, with `categories` naming each tag's category
(default: `general`). A value is a list, or text with tags separated by commas or blanks. Steps, in order: `alias`
renames tags, `drop` removes some, repeated tags are removed, `order` sorts by category (categories not named are
dropped), `limit` cuts, `shuffle_seed` shuffles all but the first `keep`, and underscores become blanks (except in faces
such as o_o). List options have commas, or come from a file with commas or lines: `-o drop=@drop.txt`. They ignore
letter case, and treat blanks as underscores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from curator.captioners import Names, StrategyOptions, captions

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

VERSION = 1
PREFIX = "tag_string_"
GENERAL = "general"


class Options(StrategyOptions):
    column: str | None = Field(default=None, description="One column with all tags, instead of tag_string_<category>.")
    categories: Names = Field(default=[], description="With `column`: TAG=CATEGORY, ...")
    order: Names = Field(
        default=["character", "copyright", "artist", GENERAL], description="Categories in the order of the caption."
    )
    alias: Names = Field(default=[], description="Tags to rename: OLD=NEW, ...")
    drop: Names = Field(default=[], description="Tags to remove.")
    limit: int | None = Field(default=None, ge=1, description="The most tags of a caption.")
    shuffle_seed: int | None = Field(default=None, ge=0, lt=2**32, description="Shuffle, keyed by seed and image.")
    keep: int = Field(default=0, ge=0, description="The number of leading tags that are not shuffled.")
    keep_underscores: bool = Field(default=False, description="Keep underscores.")
    separator: str = Field(default=", ", description="Text between tags.")

    @field_validator("categories", "alias")
    @classmethod
    def _is_pairs(cls, value: list[str]) -> list[str]:
        for pair in value:
            left, _, right = pair.rpartition("=")
            if not left.strip() or not right.strip():
                raise ValueError(f"{pair!r} isn't TAG=VALUE")
        return value


def fields(options: Options, available: list[str]) -> list[str]:
    if options.column:
        return [options.column]
    columns = [f"{PREFIX}{category}" for category in options.order]
    return [column for column in columns if column in available] or columns


def caption(batch: pl.DataFrame, options: Options) -> pl.DataFrame:
    import polars as pl

    tags = _clean(_long(batch, options), options)
    tags = tags.sort("row", "rank", "place", maintain_order=True).with_columns(place=pl.int_range(pl.len()).over("row"))
    if options.limit is not None:
        tags = tags.filter(pl.col("place") < options.limit)
    if options.shuffle_seed is not None:
        tags = _shuffle(tags, batch, options.shuffle_seed, options.keep)
    tag = pl.col("tag") if options.keep_underscores else _spaced(pl.col("tag"))
    text = tags.group_by("row", maintain_order=True).agg(tag.str.join(options.separator).alias("text"))
    rows = batch.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"))
    return captions(rows.join(text, on="row", how="left", maintain_order="left")["text"], reason="no tags left")


def _long(batch: pl.DataFrame, options: Options) -> pl.DataFrame:
    """Return one row a tag: `row` of the batch, `tag`, `rank` of the category (null: unknown), `place` in the row."""
    import polars as pl

    ranks = {category: rank for rank, category in enumerate(options.order)}
    parts = []
    for column in fields(options, batch.columns):
        values = batch.select(
            pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"), tag=_split(pl.col(column), batch.schema[column])
        )
        rank = ranks.get(GENERAL if options.column else column.removeprefix(PREFIX))
        parts.append(values.explode("tag").drop_nulls("tag").with_columns(pl.lit(rank, dtype=pl.Int64).alias("rank")))
    tags = pl.concat(parts).filter(pl.col("tag") != "").with_columns(key=_key(pl.col("tag")))
    if options.categories:
        known = {tag: ranks.get(category, -1) for tag, category in _pairs(options.categories)}
        tags = tags.with_columns(
            rank=pl.col("key").replace_strict(known, default=pl.col("rank"), return_dtype=pl.Int64)
        )
    return tags.filter(pl.col("rank") >= 0).with_columns(place=pl.int_range(pl.len()).over("row"))


def _clean(tags: pl.DataFrame, options: Options) -> pl.DataFrame:
    import polars as pl

    dropped = [_plain(tag) for tag in options.drop]
    tags = tags.filter(~pl.col("key").is_in(dropped))
    if options.alias:
        new = dict(_pairs(options.alias))
        tags = tags.with_columns(tag=pl.col("key").replace_strict(new, default=pl.col("tag"), return_dtype=pl.String))
        tags = tags.with_columns(key=_key(pl.col("tag"))).filter(~pl.col("key").is_in(dropped))
    return tags.sort("row", "rank", "place").unique(["row", "key"], keep="first", maintain_order=True)


def _shuffle(tags: pl.DataFrame, batch: pl.DataFrame, seed: int, keep: int) -> pl.DataFrame:
    """Order each row's tags after the first `keep` by a hash of (seed, image, place), whatever the batch."""
    import polars as pl

    images = batch["image_sha256"].str.head(16).str.to_integer(base=16, dtype=pl.UInt64).to_numpy()
    mixed = _splitmix64(_splitmix64(images ^ seed)[tags["row"].to_numpy()] + tags["place"].to_numpy().astype("uint64"))
    shuffled = tags.with_columns(hash=pl.Series(mixed))
    order = pl.when(pl.col("place") >= keep).then(pl.col("hash"))
    return shuffled.sort("row", pl.when(pl.col("place") < keep).then(pl.col("place")), order, nulls_last=True)


def _splitmix64(state: NDArray[Any]) -> NDArray[Any]:
    """Apply the SplitMix64 finaliser (Steele, Lea, Flood 2014) to uint64 elements."""
    import numpy as np

    mixed = state + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _split(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    import polars as pl

    if isinstance(dtype, pl.List):
        return value.list.eval(pl.element().str.strip_chars())
    commas = value.str.split(",").list.eval(pl.element().str.strip_chars())
    return pl.when(value.str.contains(",", literal=True)).then(commas).otherwise(value.str.extract_all(r"\S+"))


def _key(tag: pl.Expr) -> pl.Expr:
    return tag.str.to_lowercase().str.replace_all(r"\s+", "_")


def _plain(tag: str) -> str:
    return "_".join(tag.lower().split())


def _pairs(pairs: list[str]) -> list[tuple[str, str]]:
    split = (pair.rpartition("=") for pair in pairs)
    return [(_plain(left), right.strip()) for left, _, right in split]


def _spaced(tag: pl.Expr) -> pl.Expr:
    """Replace underscores by blanks if the tag has two letters in a row; faces (o_o, ^_^, 6_9) stay unchanged."""
    import polars as pl

    spaced = tag.str.replace_all("_", " ", literal=True).str.replace_all(r"\s+", " ").str.strip_chars()
    return pl.when(tag.str.contains(r"[\p{L}\p{N}]{2}")).then(spaced).otherwise(tag)
