"""Captions from a column of the metadata or of a table file (CSV, TSV, JSON, JSONL, Parquet).

    curator caption zoo --strategy column --set alt -o column=alt_text
    curator caption zoo --strategy column --set human --by ana -o file=human.csv -o join_on=file_name -o column=caption

With `file`, rows and images are matched by `join_on`: `file_name` (any of an image's paths, relative to the ingested
folder) or a metadata field. Unreadable rows, rows without an image and further rows of an image are rejected and shown.
An image without a row, or with an empty cell, gets no caption; but if any row is unreadable, which might be the
image's, its earlier caption stays.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from curator.captioners import Reading, Rejected, StrategyOptions, captions
from schemas.errors import BadOption

if TYPE_CHECKING:
    import polars as pl

VERSION = 2
IMPORTS = True
LOCATIONS = frozenset({"file"})
READ = "value in the file"
PROBLEM = "problem of the file"


class Options(StrategyOptions):
    column: str = Field(min_length=1, description="The column with the captions.", examples=["caption"])
    file: Path | None = Field(default=None, description="A table file. Default: the images' metadata.")
    join_on: str = Field(default="file_name", description="With `file`: the column that names the image, in both.")


def fields(options: Options, available: list[str]) -> list[str]:
    if options.file is None:
        return [options.column]
    return ["file_names" if options.join_on == "file_name" else options.join_on]


def read(images: pl.DataFrame, options: Options) -> Reading:
    """Join the file's captions to the images. Raises BadOption if the file can't be used."""
    import polars as pl

    if options.file is None:
        return Reading(pl.DataFrame(height=images.height))
    table, rejects = _table(options.file, options)
    keys = images.select("image_sha256", key=pl.col(*fields(options, [])))
    if isinstance(keys.schema["key"], pl.List):
        keys = keys.explode("key")
    keys = keys.drop_nulls("key").with_columns(_cleaned(pl.col("key")))
    matched = table.join(keys, on="key", how="left", maintain_order="left_right")
    first = matched.drop_nulls("image_sha256").unique("image_sha256", keep="first", maintain_order=True)
    columns = images.select("image_sha256").join(first, on="image_sha256", how="left", maintain_order="left")
    unread = sum(reject.reason == "bad-row" for reject in rejects)
    problem = f"no caption in {options.file.name}, but {unread} of its rows can't be read" if unread else None
    value = pl.col("value").alias(READ)
    columns = columns.select(value, pl.when(value.is_null()).then(pl.lit(problem, pl.String)).alias(PROBLEM))
    return Reading(columns, rejects + _rejects(matched, first))


def caption(batch: pl.DataFrame, options: Options) -> pl.DataFrame:
    import polars as pl

    value = pl.col(options.column if options.file is None else READ)
    if isinstance(batch.select(value).schema.dtypes()[0], pl.List):
        value = value.list.join(", ")
    text = value.str.strip_chars()
    texts = batch.select(pl.when(text != "").then(text)).to_series()
    if options.file is None:
        return captions(texts, reason=f"nothing in column {options.column}")
    problem = batch[PROBLEM]
    return captions(texts, reason=problem.fill_null(f"no caption in {options.file.name}"), failed=problem.is_not_null())


def _table(path: Path, options: Options) -> tuple[pl.DataFrame, list[Rejected]]:
    """Read the file as ingest reads tables. Returns text columns `place` (file and line), `key`, `value`; rejects."""
    import polars as pl

    from curator.tables import BadTable, read_table

    try:
        table = read_table(path, options.join_on)
    except BadTable as error:
        problem = str(error).removeprefix(f"{path}: ").replace("--join-on", "-o join_on=COLUMN")
        raise BadOption(f"-o file={path}: {problem}") from None
    if options.column == "file_name":
        raise BadOption(f"-o column=file_name: in {path} it names the images. Give the column with the captions.")
    if options.column not in table.columns:
        listing = f"It has: {', '.join(table.columns)}" if table.columns else "It has no rows"
        raise BadOption(f"-o column={options.column}: {path} has no such column. {listing}.")
    rows = [(row.place, key, _text(row.metadata, options.column)) for key, row in table.rows.items()]
    frame = pl.DataFrame(rows, schema={"place": pl.String, "key": pl.String, "value": pl.String}, orient="row")
    return frame, [Rejected(where=bad.path, reason=bad.reason.value, detail=bad.detail) for bad in table.rejects]


def _text(metadata: str, column: str) -> str | None:
    value = json.loads(metadata).get(column)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(item if isinstance(item, str) else json.dumps(item) for item in value if item is not None)
    return json.dumps(value, ensure_ascii=False)


def _cleaned(key: pl.Expr) -> pl.Expr:
    """Normalise a join value as `clean_key` of curator.tables does."""
    slashes = key.str.strip_chars().str.normalize("NFC").str.replace_all("\\", "/", literal=True)
    return slashes.str.strip_prefix("./")


def _rejects(matched: pl.DataFrame, first: pl.DataFrame) -> list[Rejected]:
    import polars as pl

    missing = matched.filter(pl.col("image_sha256").is_null())
    repeated = matched.drop_nulls("image_sha256").join(first, on=["place", "image_sha256"], how="anti")
    return [
        Rejected(where=place, reason="row-without-image", detail=f"the dataset has no image {key!r}")
        for place, key in missing.select("place", "key").rows()
    ] + [
        Rejected(where=place, reason="duplicate-row", detail=f"an earlier row has a caption for {key!r}")
        for place, key in repeated.select("place", "key").rows()
    ]
