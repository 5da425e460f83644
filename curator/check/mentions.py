"""Find whether captions mention the metadata values of their images, as whole words."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from curator.caption.inputs import image_inputs
from curator.catalog import Catalog
from schemas.errors import BadOption

BETWEEN_VALUES = r"\s*[,;|]\s*"


def check_fields(fields: Sequence[str], available: Sequence[str], option: str) -> None:
    unknown = [field for field in fields if field not in available]
    if unknown:
        listing = f"Available fields: {', '.join(available)}." if available else "Its images have no metadata."
        raise BadOption(f"{option} {unknown[0]}: no image has that field. {listing}")


def field_values(catalog: Catalog, dataset: str, fields: Sequence[str]) -> pl.DataFrame:
    """Return the values of metadata fields, one a row. Columns: field, image_sha256, value.

    Lists, and text with commas, semicolons or bars, give several values. Repeats within an image count once.
    """
    images, inputs = image_inputs(catalog, dataset, fields, fields)
    frames = []
    for field in fields:
        column = inputs[field]
        if column.dtype == pl.String:
            column = column.str.replace_all(BETWEEN_VALUES, "\0").str.split("\0")
        rows = images.select("image_sha256", value=column, field=pl.lit(field)).explode("value")
        frames.append(rows.with_columns(pl.col("value").str.strip_chars()))
    if not frames:
        return pl.DataFrame(schema={"field": pl.String, "image_sha256": pl.String, "value": pl.String})
    values = pl.concat(frames).filter(plain(pl.col("value")) != "").unique(maintain_order=True)
    return values.select("field", "image_sha256", "value")


def mentions(captions: pl.DataFrame, values: pl.DataFrame) -> pl.DataFrame:
    """Add the column `mentioned` to the values of captioned images: the caption has the value's words in a row.

    Columns of `captions`: image_sha256, text; `values`: see `field_values`. Case and punctuation don't matter.
    """
    texts = captions.select("image_sha256", plain=_padded(pl.col("text")))
    rows = values.join(texts, on="image_sha256", how="inner", maintain_order="left")
    mentioned = pl.col("plain").str.contains(_padded(pl.col("value")), literal=True)
    return rows.select("field", "image_sha256", "value", mentioned=mentioned)


def plain(text: pl.Expr) -> pl.Expr:
    """Convert to lower case, with one blank between words and no punctuation."""
    return text.str.to_lowercase().str.replace_all(r"[^\p{L}\p{M}\p{N}]+", " ").str.strip_chars(" ")


def _padded(text: pl.Expr) -> pl.Expr:
    return pl.concat_str(pl.lit(" "), plain(text), pl.lit(" "))
