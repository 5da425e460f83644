"""Select images by an expression over their facts, metadata fields and captions."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import polars as pl

from curator.catalog import Catalog
from curator.where.evaluate import matches
from curator.where.parse import parse

CAPTION = "caption."


def listed_columns(
    images: pl.DataFrame, splits: pl.DataFrame | None = None, captions: Mapping[str, pl.DataFrame] | None = None
) -> pl.DataFrame:
    """Return the table that expressions are evaluated on, with the rows of `Catalog.images_of_dataset`.

    `splits` (representative_sha256, split) gives the column `split`, null if none is stored yet; each of `captions`
    (image_sha256, text) gives a column `caption.<name>`. Width and height are upright.
    """
    sideways = pl.col("exif_orientation") >= 5
    table = images.select(
        pl.col("image_sha256").alias("sha256"),
        "file_name",
        pl.when(sideways).then("height_px").otherwise("width_px").alias("width_px"),
        pl.when(sideways).then("width_px").otherwise("height_px").alias("height_px"),
        *("size_bytes", "format", "has_alpha", "license", "source_url", "representative_sha256", "metadata"),
    )
    if splits is not None:
        splits = splits.select("representative_sha256", "split")
        table = table.join(splits, on="representative_sha256", how="left", maintain_order="left")
    for name, frame in (captions or {}).items():
        column = frame.select(pl.col("image_sha256").alias("sha256"), pl.col("text").alias(f"{CAPTION}{name}"))
        table = table.join(column, on="sha256", how="left", maintain_order="left")
    return table.rename({"representative_sha256": "near_duplicate_of"})


def images_where(catalog: Catalog, dataset: str, text: str) -> pl.Series:
    """Return the SHA-256 of each image that an expression holds for, with its current captions.

    Raises BadExpression.
    """
    where = parse(text)
    captions = {}
    if any(column.name.startswith(CAPTION) for column in where.columns):
        sets = catalog.caption_sets()
        names = [name for owner, name in sets.select("dataset", "set_name").iter_rows() if owner == dataset]
        captions = {name: catalog.caption_texts(dataset, name) for name in names}
    table = listed_columns(catalog.images_of_dataset(dataset), catalog.stored_splits(dataset), captions)
    return table.filter(matches(where, table))["sha256"]


def of_images(rows: pl.DataFrame, images: Collection[str]) -> pl.DataFrame:
    """Return the rows of these images."""
    return rows.filter(pl.col("image_sha256").is_in(pl.Series(list(images), dtype=pl.String).implode()))
