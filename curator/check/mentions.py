"""Whether captions mention what the metadata says of their images: a field's values, as whole words."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from curator.caption.inputs import image_inputs
from curator.catalog import Catalog
from schemas.errors import BadOption

BETWEEN_VALUES = r"\s*[,;|]\s*"


def check_fields(fields: Sequence[str], available: Sequence[str], option: str) -> None:
    """Raises BadOption for a field that no image has, listing those there are."""
    unknown = [field for field in fields if field not in available]
    if unknown:
        there_are = f"The fields there are: {', '.join(available)}." if available else "Its images have no metadata."
        raise BadOption(f"{option} {unknown[0]}: no image has that field. {there_are}")


def field_values(catalog: Catalog, dataset: str, fields: Sequence[str]) -> pl.DataFrame:
    """The values of metadata fields, one a row: field, image_sha256, value.

    Lists are many values, and so is text with commas, semicolons or bars. An image's value counts once.
    """
    images, inputs = image_inputs(catalog, dataset, fields, fields)
    frames = []
    for field in fields:
        column = inputs[field]
        if column.dtype == pl.String:
            column = column.str.replace_all(BETWEEN_VALUES, "\0").str.split("\0")
        rows = images.select("image_sha256", value=column, field=pl.lit(field)).explode("value")
        frames.append(rows.with_columns(pl.col("value").str.strip_chars()))
    found = pl.concat(frames) if frames else pl.DataFrame(schema={"image_sha256": pl.String, "value": pl.String})
    if not frames:
        return found.with_columns(field=pl.lit("")).select("field", "image_sha256", "value")
    kept = found.filter(plain(pl.col("value")) != "").unique(maintain_order=True)
    return kept.select("field", "image_sha256", "value")


def mentions(captions: pl.DataFrame, values: pl.DataFrame) -> pl.DataFrame:
    """The values of the captioned images with `mentioned`: whether the image's caption has the value's words in a row.

    `captions`: image_sha256, text; `values`: as `field_values` has them. Letter case and punctuation don't matter;
    "cats" doesn't mention "cat".
    """
    texts = captions.select("image_sha256", plain=_padded(pl.col("text")))
    rows = values.join(texts, on="image_sha256", how="inner", maintain_order="left")
    mentioned = pl.col("plain").str.contains(_padded(pl.col("value")), literal=True)
    return rows.select("field", "image_sha256", "value", mentioned=mentioned)


def plain(text: pl.Expr) -> pl.Expr:
    """Lower case, and one blank for everything between words."""
    return text.str.to_lowercase().str.replace_all(r"[^\p{L}\p{M}\p{N}]+", " ").str.strip_chars(" ")


def _padded(text: pl.Expr) -> pl.Expr:
    return pl.concat_str(pl.lit(" "), plain(text), pl.lit(" "))
