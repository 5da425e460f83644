"""Captions that stand in a column: of the images' metadata, or of a table file (CSV, TSV, JSON, JSONL, Parquet).

    curator caption zoo --strategy column --set alt -o column=alt_text
    curator caption zoo --strategy column --set human --by ana -o file=human.csv -o join_on=file_name -o column=caption

With `file`, a row belongs to the images that have its value in `join_on`: `file_name` (any of an image's paths,
relative to the ingested folder) or a metadata field. Rows without an image, and a second row for the same image, are
rejected and shown. An image without a row, or with an empty cell, gets no caption.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from curator.captioners import Reading, Rejected, StrategyOptions, captions
from schemas.errors import BadOption

if TYPE_CHECKING:
    import polars as pl

VERSION = 1
IMPORTS = True
LOCATIONS = frozenset({"file"})
READ = "value in the file"


class Options(StrategyOptions):
    """Which column, of what."""

    column: str = Field(min_length=1, description="The column with the captions.", examples=["caption"])
    file: Path | None = Field(default=None, description="A table file. Without it: the images' metadata.")
    join_on: str = Field(default="file_name", description="With `file`: the column that names the image, in both.")


def fields(options: Options, available: list[str]) -> list[str]:
    """The metadata column; with a file, what it is joined on."""
    if options.file is None:
        return [options.column]
    return ["file_names" if options.join_on == "file_name" else options.join_on]


def read(images: pl.DataFrame, options: Options) -> Reading:
    """The file's caption for each image, as a column. Raises BadOption where the file can't be used."""
    import polars as pl

    if options.file is None:
        return Reading(pl.DataFrame(height=images.height))
    table = _table(options.file, options).filter(pl.col("key").is_not_null())
    joined = "file_names" if options.join_on == "file_name" else options.join_on
    keys = images.select("image_sha256", key=pl.col(joined))
    if isinstance(keys.schema["key"], pl.List):
        keys = keys.explode("key")
    matched = table.join(keys.drop_nulls("key"), on="key", how="left", maintain_order="left_right")
    first = matched.drop_nulls("image_sha256").unique("image_sha256", keep="first", maintain_order=True)
    columns = images.select("image_sha256").join(first, on="image_sha256", how="left", maintain_order="left")
    return Reading(columns.select(pl.col("value").alias(READ)), _rejects(options.file, matched, first))


def caption(batch: pl.DataFrame, options: Options) -> pl.DataFrame:
    """The cell's text; a list is joined with commas."""
    import polars as pl

    value = pl.col(options.column if options.file is None else READ)
    if isinstance(batch.select(value).schema.dtypes()[0], pl.List):
        value = value.list.join(", ")
    text = value.str.strip_chars()
    return captions(
        batch.select(pl.when(text != "").then(text)).to_series(),
        reason=f"nothing in column {options.column}" if options.file is None else f"no caption in {options.file.name}",
    )


def _table(path: Path, options: Options) -> pl.DataFrame:
    """The file's rows as text: `row` (1 is the first), `key`, `value`."""
    import polars as pl

    try:
        table = _read_table(path)
    except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        raise BadOption(f"-o file={path}: can't be read ({str(error).splitlines()[0]}).") from None
    for name, option in ((options.join_on, "join_on"), (options.column, "column")):
        if name not in table.columns:
            raise BadOption(f"-o {option}={name}: {path} has no such column. It has: {', '.join(table.columns)}.")
    key = pl.col(options.join_on).cast(pl.String).str.strip_chars()
    value = pl.col(options.column)
    text = value.list.join(", ") if isinstance(table.schema[options.column], pl.List) else value.cast(pl.String)
    if options.join_on == "file_name":
        key = key.str.replace_all("\\", "/", literal=True).str.strip_prefix("./")
    return table.with_row_index("row", offset=1).select("row", key=key, value=text)


def _read_table(path: Path) -> pl.DataFrame:
    import polars as pl

    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return pl.read_csv(path, infer_schema=False, separator="\t" if suffix == ".tsv" else ",")
    if suffix == ".parquet":
        return pl.read_parquet(path)
    if suffix in (".jsonl", ".ndjson"):
        return pl.read_ndjson(path, infer_schema_length=None)
    if suffix == ".json":
        return pl.read_json(path, infer_schema_length=None)
    raise BadOption(f"-o file={path}: use a .csv, .tsv, .json, .jsonl or .parquet file.")


def _rejects(path: Path, matched: pl.DataFrame, first: pl.DataFrame) -> list[Rejected]:
    """Rows whose image isn't there, and rows for an image that has one already."""
    import polars as pl

    missing = matched.filter(pl.col("image_sha256").is_null())
    taken = matched.drop_nulls("image_sha256").join(first, on=["row", "image_sha256"], how="anti")
    rejects = [
        (row, "no-image", f"there is no image {key!r} in the dataset")
        for row, key in missing.select("row", "key").rows()
    ] + [
        (row, "repeated", f"an earlier row has a caption for {key!r}") for row, key in taken.select("row", "key").rows()
    ]
    return [
        Rejected(where=f"{path} row {row}", reason=reason, detail=detail) for row, reason, detail in sorted(rejects)
    ]
