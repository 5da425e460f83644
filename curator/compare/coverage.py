"""How much of the metadata the captions say: by set and field, the share of images whose caption says the value."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from curator.catalog import Catalog
from curator.check.mentions import field_values, mentions
from curator.compare.result import Coverage


def coverage(
    catalog: Catalog, dataset: str, captions: pl.DataFrame, labels: Sequence[str], fields: Sequence[str]
) -> dict[str, dict[str, Coverage]]:
    """By label and field, over the images of `captions` (image_sha256, and a column of text a label).

    A field that none of these images has is left out.
    """
    values = field_values(catalog, dataset, fields)
    found: dict[str, dict[str, Coverage]] = {}
    for label in labels:
        said = mentions(captions.select("image_sha256", text=label), values)
        by_image = said.group_by("field", "image_sha256").agg(
            pl.col("mentioned").any(), said=pl.col("mentioned").sum(), values=pl.len()
        )
        figures = by_image.group_by("field").agg(
            pl.len().alias("images"),
            pl.col("mentioned").sum(),
            pl.col("mentioned").mean().alias("share"),
            values_share=pl.col("said").sum() / pl.col("values").sum(),
        )
        by_field = {row.pop("field"): Coverage(**row) for row in figures.iter_rows(named=True)}
        found[label] = {field: by_field[field] for field in fields if field in by_field}
    return found
