"""A dataset's working copy in memory: a row per image, a column per caption set, updated by the catalog's new rows.

New captions, images and paths are merged as differences; new near-duplicate groups or splits reload those columns.
Frames are immutable, so readers need no lock.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import polars as pl

from curator.catalog import Catalog

CAPTION, CAPTION_ID, RUN = "caption.", "caption_id.", "run."
FOLDED = "folded"
IMAGES_KEPT = 2_000_000  # of all datasets; about 1.5 kB each with three sets
SEARCHES_KEPT = 32
FEW = 1_000  # revisions that are put in one by one
PARTS = {CAPTION: "text", CAPTION_ID: "caption_id", RUN: "run_id"}


@dataclass(frozen=True)
class Table:
    """The working copy as of `marks`. `frame` is sorted by `number`.

    Columns: number, file_id, sha256, file_name, width_px, height_px, size_bytes, format, has_alpha, license,
    source_url, paths (their number), near_duplicate_of, alone, split; for each set caption.SET (text),
    caption_id.SET, run.SET; folded: all captions in lower case, one per line.
    """

    dataset: str
    frame: pl.DataFrame
    sets: list[str]
    marks: Mapping[str, int]
    fields: dict[str, pl.Series] = field(default_factory=dict)
    """Metadata fields that were asked for, row by row."""
    searches: OrderedDict[object, pl.DataFrame] = field(default_factory=OrderedDict)
    """What was found by the last filters, of this very state."""


class _Shelf:
    """The working copies of one catalog."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tables: OrderedDict[str, Table] = OrderedDict()
        self.locks: dict[str, threading.Lock] = {}


_shelves: WeakKeyDictionary[Catalog, _Shelf] = WeakKeyDictionary()
_shelves_lock = threading.Lock()


def working_copy(catalog: Catalog, dataset: str) -> Table:
    """Return the up-to-date working copy. The first call of a process reads everything."""
    with _shelves_lock:
        shelf = _shelves.setdefault(catalog, _Shelf())
    with shelf.lock:
        lock = shelf.locks.setdefault(dataset, threading.Lock())
    with lock:
        table = shelf.tables.get(dataset)
        table = _read(catalog, dataset) if table is None else _kept_up(catalog, table)
        with shelf.lock:
            shelf.tables[dataset] = table
            shelf.tables.move_to_end(dataset)
            while len(shelf.tables) > 1 and sum(one.frame.height for one in shelf.tables.values()) > IMAGES_KEPT:
                shelf.tables.popitem(last=False)
    return table


def warm(catalog: Catalog) -> None:
    """Make the working copies in advance."""
    with suppress(Exception):  # whatever it is, the first page says it; or the catalog was closed meanwhile
        for name in catalog.dataset_names():
            working_copy(catalog, name)


def row_of_image(table: Table, image_sha256: str) -> dict[str, Any] | None:
    """Return an image's row, or None."""
    place = table.frame["sha256"].index_of(image_sha256)
    return None if place is None else table.frame.row(place, named=True)


def file_id_of_image(catalog: Catalog, image_sha256: str) -> int | None:
    """Return the path row of an image from existing working copies, without updating them; None if there is none."""
    with _shelves_lock:
        shelf = _shelves.setdefault(catalog, _Shelf())
    with shelf.lock:
        tables = list(shelf.tables.values())
    rows = (row_of_image(table, image_sha256) for table in tables)
    return next((int(row["file_id"]) for row in rows if row), None)


def _read(catalog: Catalog, dataset: str) -> Table:
    """Read everything. The marks are read first: rows that arrive meanwhile are merged again, which does no harm."""
    marks = catalog.gallery_marks(dataset, 0)
    frame = _placed(catalog, dataset, catalog.gallery_images(dataset))
    frame, sets = _with_captions(frame, [], catalog.gallery_captions(dataset, 0))
    return Table(dataset, frame.rechunk(), sets, marks)


def _kept_up(catalog: Catalog, table: Table) -> Table:
    last_caption_id = table.marks["last_caption_id"]
    marks = catalog.gallery_marks(table.dataset, last_caption_id)
    if all(marks[name] == table.marks[name] for name in marks if name != "new_captions"):
        return table
    frame, fields = table.frame, table.fields
    if marks["last_file_id"] != table.marks["last_file_id"]:
        frame, fields = _with_new_files(catalog, table), {}
    if any(marks[name] != table.marks[name] for name in ("near_duplicates", "splits")):
        frame = _placed(catalog, table.dataset, frame)
    if marks["captions"] - table.marks["captions"] != marks["new_captions"]:
        last_caption_id = 0  # ids are given out before they are written: some came late, below the last one
    captions = catalog.gallery_captions(table.dataset, last_caption_id)
    frame, sets = _with_captions(frame, table.sets, captions)
    return replace(table, frame=frame, sets=sets, marks=marks, fields=fields, searches=OrderedDict())


def _placed(catalog: Catalog, dataset: str, images: pl.DataFrame) -> pl.DataFrame:
    """Add near-duplicate group and split."""
    groups, splits = catalog.gallery_groups(dataset), catalog.stored_splits(dataset)
    images = images.drop("near_duplicate_of", "alone", "split", strict=False)
    joined = images.join(groups, on="sha256", how="left", maintain_order="left").with_columns(
        pl.coalesce("near_duplicate_of", "sha256").alias("near_duplicate_of")
    )
    joined = joined.join(
        splits, left_on="near_duplicate_of", right_on="representative_sha256", how="left", maintain_order="left"
    )
    return joined.with_columns(_alone())


def _alone() -> pl.Expr:
    return (pl.len().over("near_duplicate_of") == 1).alias("alone")


def _with_new_files(catalog: Catalog, table: Table) -> pl.DataFrame:
    """Merge new path rows: mostly new images, whose groups and splits come later."""
    frame, last_file_id = table.frame, table.marks["last_file_id"]
    fresh = catalog.gallery_new_files(table.dataset, last_file_id)
    met = fresh["known"].any() or fresh["seen"].any() or not _rows_of(frame, fresh["sha256"]).is_empty()
    if met:
        return _with_changed_images(catalog, table.dataset, frame, catalog.gallery_changes(table.dataset, last_file_id))
    paths = pl.len().over("sha256").cast(pl.Int64).alias("paths")
    new = fresh.drop("known", "seen").with_columns(paths).unique("sha256", keep="first", maintain_order=True)
    return pl.concat([frame, _alone_so_far(new)], how="diagonal") if new.height else frame


def _with_changed_images(catalog: Catalog, dataset: str, frame: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
    """Update or remove images by their current paths; captions are kept or restored."""
    here = changes.filter(pl.col("number").is_not_null())
    new = here.join(frame, on="sha256", how="anti")
    facts = [name for name in here.columns if name != "seen"]
    rest = frame.select("sha256", pl.exclude(facts))
    known = here.select(facts).join(rest, on="sha256", how="inner")
    others = frame.join(changes, on="sha256", how="anti", maintain_order="left")
    frame = pl.concat([others, known, _alone_so_far(new.select(facts))], how="diagonal").sort("number")
    returned = new.filter("seen")
    if returned.is_empty():
        return frame.with_columns(_alone())
    captions = catalog.gallery_captions(dataset, 0).join(returned, on="sha256", how="semi")
    sets = sorted(name.removeprefix(CAPTION) for name in frame.columns if name.startswith(CAPTION))
    return _with_captions(_placed(catalog, dataset, frame), sets, captions)[0]


def _alone_so_far(images: pl.DataFrame) -> pl.DataFrame:
    return images.with_columns(
        pl.col("sha256").alias("near_duplicate_of"), pl.lit(True).alias("alone"), pl.lit("").alias(FOLDED)
    )


def _with_captions(frame: pl.DataFrame, sets: list[str], captions: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Merge newer revisions; sets are ordered by name."""

    names = sorted(captions["set_name"].unique())
    all_sets = sorted({*sets, *names})
    for name in names:
        revisions = captions.filter(captions["set_name"] == name)
        few = revisions.height <= FEW and name in sets
        frame = _with_a_few(frame, name, revisions) if few else _with_many(frame, name, revisions)
    if captions.height > FEW or FOLDED not in frame.columns:
        return frame.with_columns(_folded(all_sets).alias(FOLDED)), all_sets
    rows = _rows_of(frame, captions["sha256"])
    new = frame[rows["row"]].select(_folded(all_sets))[FOLDED]
    return frame.with_columns(frame[FOLDED].clone().scatter(rows["row"], new)), all_sets


def _folded(sets: list[str]) -> pl.Expr:
    """Join all captions of an image in lower case, one per line: one column to search instead of one per set."""
    lines = [pl.col(f"{CAPTION}{name}").str.to_lowercase() for name in sets]
    return pl.concat_str([pl.lit(""), *lines], separator="\n", ignore_nulls=True).alias(FOLDED)


def _rows_of(frame: pl.DataFrame, images: pl.Series) -> pl.DataFrame:
    """Return the row numbers of some images: row, sha256."""
    rows = frame.select(pl.int_range(pl.len()).alias("row"), "sha256")
    return rows.filter(pl.col("sha256").is_in(images.implode()))


def _with_many(frame: pl.DataFrame, name: str, revisions: pl.DataFrame) -> pl.DataFrame:
    new = revisions.select("sha256", *(pl.col(part).alias(f"new {part}") for part in PARTS.values()))
    frame = frame.join(new, on="sha256", how="left", maintain_order="left")
    touched = pl.col("new caption_id").is_not_null()
    columns = {f"{prefix}{name}": f"new {part}" for prefix, part in PARTS.items()}
    olds = {column: pl.col(column) if column in frame.columns else pl.lit(None) for column in columns}
    return frame.with_columns(
        pl.when(touched).then(pl.col(part)).otherwise(olds[column]).alias(column) for column, part in columns.items()
    ).drop(*columns.values())


def _with_a_few(frame: pl.DataFrame, name: str, revisions: pl.DataFrame) -> pl.DataFrame:
    """Merge revisions of a few rows, as after an edit: thirty times as fast, since no other row is touched."""
    found = _rows_of(frame, revisions["sha256"]).join(revisions, on="sha256", how="inner")
    return frame.with_columns(
        frame[f"{prefix}{name}"].clone().scatter(found["row"], found[part]).alias(f"{prefix}{name}")
        for prefix, part in PARTS.items()
    )
