"""Apply gallery filters to a working copy."""

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
COLUMNS = (  # available to expressions, beside captions and metadata fields
    "sha256", "file_name", "width_px", "height_px", "size_bytes", "format", "has_alpha", "license", "source_url",
    "near_duplicate_of", "split",
)  # fmt: skip


def matching_rows(catalog: Catalog, table: Table, filters: GalleryFilters) -> pl.DataFrame:
    """Return columns row (index in the frame) and number, in order. Results are cached.

    Raises NotFound for an unknown set, BadOption, BadExpression.
    """
    if filters.status in ("failed", "rejected"):  # the table's marks don't cover these
        return _search(catalog, table, filters)
    if (cached := table.searches.get(filters)) is not None:
        return cached
    rows = table.searches[filters] = _search(catalog, table, filters)
    while len(table.searches) > SEARCHES_KEPT:
        table.searches.popitem(last=False)
    return rows


def _search(catalog: Catalog, table: Table, filters: GalleryFilters) -> pl.DataFrame:
    if filters.caption_set is not None and filters.caption_set not in table.sets:
        hint = f"It has: {', '.join(table.sets)}." if table.sets else "It has none yet; curator caption makes one."
        raise NotFound(f"{table.dataset} has no caption set {filters.caption_set!r}. {hint}")
    conditions = _image_conditions(filters)
    sets = table.sets if filters.caption_set is None else [filters.caption_set]
    if filters.status == "missing":
        conditions += [pl.col(f"{CAPTION}{name}").is_null() for name in sets]
    elif filters.about_captions and not filters.only_text:
        conditions.append(pl.any_horizontal([pl.lit(False), *_caption_conditions(catalog, table, filters, sets)]))
    listed = _listed(catalog, table, filters)
    if listed is not None:
        conditions.append(pl.col("sha256").is_in(listed.implode()))
    masks = [_metadata(catalog, table, text) for text in filters.metadata]
    if filters.where is not None:
        masks.append(_where(catalog, table, filters.where))
    frame = table.frame.with_row_index("row").with_columns(
        mask.alias(f"mask {index}") for index, mask in enumerate(masks)
    )
    conditions += [pl.col(f"mask {index}") for index in range(len(masks))]
    if filters.text:  # search all captions at once first; the conditions then look at single sets
        contains = pl.col(FOLDED).str.contains(_folded(filters.text), literal=True)
        columns = {"row", "number"}.union(*(condition.meta.root_names() for condition in conditions))
        frame = frame.lazy().filter(contains).select(columns).collect()
    return frame.lazy().filter(*conditions).select("row", "number").collect()


def _image_conditions(filters: GalleryFilters) -> list[pl.Expr]:
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


def _caption_conditions(catalog: Catalog, table: Table, filters: GalleryFilters, sets: list[str]) -> list[pl.Expr]:
    """Return a condition per set."""
    runs = _runs(catalog, table.dataset, filters)
    conditions_by_set = []
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
        conditions_by_set.append(pl.all_horizontal(conditions).fill_null(False))
    return conditions_by_set


def _folded(text: str) -> str:
    """Fold as in the working copy: lower case, one line."""
    return LINE_ENDS.sub(" ", text).lower()


def _runs(catalog: Catalog, dataset: str, filters: GalleryFilters) -> pl.Series | None:
    """Return the matching caption runs; None without a filter on them."""
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
    """Return failed or rejected images; None without that filter."""
    if filters.status == "failed":
        return catalog.standing_failures(table.dataset, filters.caption_set)["image_sha256"]
    if filters.status == "rejected":
        return pl.Series(catalog.rejected_images(table.dataset), dtype=pl.String)
    return None


def _metadata(catalog: Catalog, table: Table, text: str) -> pl.Series:
    """Return a bool per row."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise BadOption(f"metadata {text!r}: write field=value.")
    column = _field(catalog, table, name)
    if column is None:
        fields = ", ".join(catalog.metadata_fields(table.dataset)) or "none"
        raise BadOption(f"metadata {text!r}: no image has a field {name!r}. Fields: {fields}.")
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
    """Return a bool per row. Reads only the metadata fields named."""
    expression = where.parse(text, "where")
    columns = {name: table.frame[name] for name in (*COLUMNS, *(f"{CAPTION}{name}" for name in table.sets))}
    unknown = [column.name for column in expression.columns if column.name not in columns]
    for name in unknown:
        field = _field(catalog, table, name)
        if field is None and name.startswith(METADATA):
            field = _field(catalog, table, name.removeprefix(METADATA))
        if field is not None:
            columns[name] = field.alias(name)
    if any(name not in columns for name in unknown):  # for the error, which lists every column
        for name in catalog.metadata_fields(table.dataset):
            listed = f"{METADATA}{name}" if name in columns else name
            field = _field(catalog, table, name)
            if field is not None:
                columns[listed] = field.alias(listed)
    return where.matches(expression, pl.DataFrame(list(columns.values())))


def _field(catalog: Catalog, table: Table, name: str) -> pl.Series | None:
    """Return a metadata field per row; None if no image has it.

    The type is number, boolean or list if all values agree, else text.
    """
    if name not in table.fields:
        values = catalog.gallery_metadata(table.dataset, pointer(name), table.frame.select("file_id"))
        if not values.height:
            return None
        table.fields[name] = _column(table.frame, values)
    return table.fields[name]


def _column(frame: pl.DataFrame, values: pl.DataFrame) -> pl.Series:
    """Parse JSON texts, each distinct text once."""
    texts = values["value"].unique()
    parsed = pl.DataFrame({"value": texts, "parsed": typed([json.loads(text) for text in texts])})
    rows = frame.select("file_id").join(values, on="file_id", how="left", maintain_order="left")
    return rows.join(parsed, on="value", how="left", maintain_order="left")["parsed"]
