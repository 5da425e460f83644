"""Filters over a working copy: which rows they hold for."""

from __future__ import annotations

import json

import polars as pl

from curator import where
from curator.caption.inputs import pointer
from curator.catalog import Catalog
from curator.catalog.working_copy import CAPTION, FOLDED, RUN, SEARCHES_KEPT, Table
from curator.gallery.filters import GalleryFilters
from curator.text.one_line import LINE_ENDS
from curator.where.evaluate import typed
from schemas.errors import BadOption, NotFound

METADATA = "metadata."
COLUMNS = (  # that an expression may name, beside captions and metadata fields
    "sha256", "file_name", "width_px", "height_px", "size_bytes", "format", "has_alpha", "license", "source_url",
    "near_duplicate_of", "split",
)  # fmt: skip


def found(catalog: Catalog, table: Table, filters: GalleryFilters) -> pl.DataFrame:
    """The rows that `filters` hold for, in order: row (place in the frame), number. Asked again, it is remembered.

    Raises NotFound for a set there isn't, BadOption, BadExpression.
    """
    asked = filters if filters.status not in ("failed", "rejected") else None  # those the marks don't tell of
    if asked is not None and (known := table.searches.get(asked)) is not None:
        return known
    rows = _search(catalog, table, filters)
    if asked is not None:
        table.searches[asked] = rows
        while len(table.searches) > SEARCHES_KEPT:
            table.searches.popitem(last=False)
    return rows


def _search(catalog: Catalog, table: Table, filters: GalleryFilters) -> pl.DataFrame:
    if filters.caption_set is not None and filters.caption_set not in table.sets:
        there_are = f"There are: {', '.join(table.sets)}." if table.sets else "There are none yet: curator caption."
        raise NotFound(f"{table.dataset} has no caption set {filters.caption_set!r}. {there_are}")
    conditions = _of_images(filters)
    sets = table.sets if filters.caption_set is None else [filters.caption_set]
    if filters.status == "missing":
        conditions += [pl.col(f"{CAPTION}{name}").is_null() for name in sets]
    elif filters.asks_of_captions and not filters.asks_for_text_alone:
        conditions.append(pl.any_horizontal([pl.lit(False), *_of_captions(catalog, table, filters, sets)]))
    listed = _listed(catalog, table, filters)
    if listed is not None:
        conditions.append(pl.col("sha256").is_in(listed.implode()))
    masks = [_metadata(catalog, table, text) for text in filters.metadata]
    if filters.where is not None:
        masks.append(_where(catalog, table, filters.where))
    frame = table.frame.with_row_index("row").with_columns(
        mask.alias(f"mask {place}") for place, mask in enumerate(masks)
    )
    conditions += [pl.col(f"mask {place}") for place in range(len(masks))]
    if filters.text:  # first in all captions at once: what is left is looked at set by set
        needle = pl.col(FOLDED).str.contains(_folded(filters.text), literal=True)
        read = {"row", "number"}.union(*(condition.meta.root_names() for condition in conditions))
        frame = frame.lazy().filter(needle).select(read).collect()
    return frame.lazy().filter(*conditions).select("row", "number").collect()


def _of_images(filters: GalleryFilters) -> list[pl.Expr]:
    conditions = []
    for side in ("width", "height"):
        least, most = getattr(filters, f"min_{side}"), getattr(filters, f"max_{side}")
        if least is not None:
            conditions.append(pl.col(f"{side}_px") >= least)
        if most is not None:
            conditions.append(pl.col(f"{side}_px") <= most)
    if filters.split is not None:
        split = pl.col("split")
        conditions.append(split.is_null() if filters.split == "none" else split == filters.split)
    if filters.near_duplicates is not None:
        conditions.append(pl.col("alone") != filters.near_duplicates)
    return conditions


def _of_captions(catalog: Catalog, table: Table, filters: GalleryFilters, sets: list[str]) -> list[pl.Expr]:
    """For each set, what must hold of its caption."""
    runs = _runs(catalog, table.dataset, filters)
    each = []
    for name in sets:
        text = pl.col(f"{CAPTION}{name}")
        conditions = [text.is_not_null()]
        if runs is not None:
            conditions.append(pl.col(f"{RUN}{name}").is_in(runs.implode()))
        if filters.status == "empty":
            conditions.append(text == "")
        if filters.min_length is not None:
            conditions.append(text.str.len_chars() >= filters.min_length)
        if filters.max_length is not None:
            conditions.append(text.str.len_chars() <= filters.max_length)
        if filters.text:
            conditions.append(text.str.to_lowercase().str.contains(_folded(filters.text), literal=True))
        each.append(pl.all_horizontal(conditions).fill_null(False))
    return each


def _folded(text: str) -> str:
    """A text to look for as captions are kept to be looked through: small letters, one line."""
    return LINE_ENDS.sub(" ", text).lower()


def _runs(catalog: Catalog, dataset: str, filters: GalleryFilters) -> pl.Series | None:
    """The caption runs by the strategy and the person asked for; None where neither is."""
    if filters.strategy is None and filters.person is None and filters.status not in ("person", "machine"):
        return None
    runs = catalog.caption_runs_of_dataset(dataset)
    if filters.strategy is not None:
        runs = runs.filter(pl.col("strategy") == filters.strategy)
    if filters.person is not None:
        runs = runs.filter((pl.col("person") == filters.person) & pl.col("by_person"))
    if filters.status in ("person", "machine"):
        runs = runs.filter(pl.col("by_person") == (filters.status == "person"))
    return runs["run_id"]


def _listed(catalog: Catalog, table: Table, filters: GalleryFilters) -> pl.Series | None:
    """The images that the catalog keeps a list of: failed, rejected."""
    if filters.status == "failed":
        return catalog.standing_failures(table.dataset, filters.caption_set)["image_sha256"]
    if filters.status == "rejected":
        return pl.Series(catalog.rejected_images(table.dataset), dtype=pl.String)
    return None


def _metadata(catalog: Catalog, table: Table, text: str) -> pl.Series:
    """One bool a row: has the field this value?"""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise BadOption(f"metadata {text!r}: write field=value.")
    column = _field(catalog, table, name)
    if column is None:
        known = ", ".join(catalog.metadata_fields(table.dataset)) or "none"
        raise BadOption(f"metadata {text!r}: no image has a field {name!r}. There are: {known}.")
    return _equal(column, value)


def _equal(column: pl.Series, value: str) -> pl.Series:
    if isinstance(column.dtype, pl.List):
        return column.list.contains(value).fill_null(False)
    if column.dtype == pl.Boolean:
        wanted = {"true": True, "false": False}.get(value.lower())
        return (column == wanted).fill_null(False) if wanted is not None else column.is_null() & False
    if column.dtype.is_numeric():
        try:
            return (column == float(value)).fill_null(False)
        except ValueError:
            return column.is_null() & False
    return (column == value).fill_null(False)


def _where(catalog: Catalog, table: Table, text: str) -> pl.Series:
    """One bool a row: does the expression hold? Only the metadata fields that it names are read."""
    expression = where.parse(text, "where")
    own = [*COLUMNS, *(f"{CAPTION}{name}" for name in table.sets)]
    columns = {name: table.frame[name] for name in own}
    unknown = [column.name for column in expression.columns if column.name not in columns]
    for name in unknown:
        field = _field(catalog, table, name)
        if field is None and name.startswith(METADATA):
            field = _field(catalog, table, name.removeprefix(METADATA))
        if field is not None:
            columns[name] = field.alias(name)
    if any(name not in columns for name in unknown):  # the error lists every column there is
        for name in catalog.metadata_fields(table.dataset):
            listed = f"{METADATA}{name}" if name in columns else name
            field = _field(catalog, table, name)
            if field is not None:
                columns[listed] = field.alias(listed)
    return where.matches(expression, pl.DataFrame(list(columns.values())))


def _field(catalog: Catalog, table: Table, name: str) -> pl.Series | None:
    """A metadata field, row by row: numbers, yes/no or lists where all are that, else text. None: no image has it."""
    if name not in table.fields:
        values = catalog.gallery_metadata(table.dataset, pointer(name), table.frame.select("file_id"))
        if not values.height:
            return None
        table.fields[name] = _column(table.frame, values)
    return table.fields[name]


def _column(frame: pl.DataFrame, values: pl.DataFrame) -> pl.Series:
    """JSON texts to values, each different text read once."""
    texts = values["value"].unique()
    read = pl.DataFrame({"value": texts, "read": typed([json.loads(text) for text in texts])})
    rows = frame.select("file_id").join(values, on="file_id", how="left", maintain_order="left")
    return rows.join(read, on="value", how="left", maintain_order="left")["read"]
