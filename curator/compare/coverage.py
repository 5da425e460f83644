"""Coverage of metadata: the share of images whose caption mentions the value, by set and field."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from curator.catalog import Catalog
from curator.check.mentions import field_values, mentions
from curator.compare.result import Coverage


def coverage(
    catalog: Catalog, dataset: str, captions: pl.DataFrame, labels: Sequence[str], fields: Sequence[str]
) -> dict[str, dict[str, Coverage]]:
    """Return the coverage by label and field, over the images of `captions`. Omits fields that none of them has.

    `captions`: image_sha256, and a column of text for each label.
    """
    values = field_values(catalog, dataset, fields)
    by_label: dict[str, dict[str, Coverage]] = {}
    for label in labels:
        rows = mentions(captions.select("image_sha256", text=label), values)
        by_image = rows.group_by("field", "image_sha256").agg(
            pl.col("mentioned").any(), mentions=pl.col("mentioned").sum(), values=pl.len()
        )
        figures = by_image.group_by("field").agg(
            pl.len().alias("images"),
            pl.col("mentioned").sum(),
            pl.col("mentioned").mean().alias("share"),
            values_share=pl.col("mentions").sum() / pl.col("values").sum(),
        )
        by_field = {row.pop("field"): Coverage(**row) for row in figures.iter_rows(named=True)}
        by_label[label] = {field: by_field[field] for field in fields if field in by_field}
    return by_label
