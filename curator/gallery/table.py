"""A dataset's working copy: one row an image, a column a caption set, kept up with the catalog by what is new there.

Captions and new images come as differences. A path that changed or is gone, new near-duplicate groups or splits make
the images' own columns be read again. Frames never change once made, so that readers need no lock.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import polars as pl

    from curator.catalog import Catalog

CAPTION, CAPTION_ID, RUN = "caption.", "caption_id.", "run."
FOLDED = "folded"
IMAGES_KEPT = 2_000_000  # of all datasets; about 1.5 kB each with three sets
LONG_SECONDS, PAUSE = 0.25, 10  # reading all anew takes long: not before so many times as long have passed
SEARCHES_KEPT = 32
FEW = 1_000  # revisions that are put in one by one
PARTS = {CAPTION: "text", CAPTION_ID: "caption_id", RUN: "run_id"}


@dataclass(frozen=True)
class Table:
    """The working copy as of `marks`. `frame` is sorted by `number`.

    Columns: number, file_id, sha256, file_name, width_px, height_px, size_bytes, format, has_alpha, license,
    source_url, near_duplicate_of, alone, split; for each set caption.SET (text), caption_id.SET, run.SET; folded: all
    captions in small letters, a line each.
    """

    dataset: str
    frame: pl.DataFrame
    paths: int  # of all images
    sets: list[str]
    marks: Mapping[str, int]
    read_at: float  # when all was read, and how long that took
    reading_seconds: float
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
    """The dataset as the catalog has it now. The first call of a process reads all of it."""
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


def _read(catalog: Catalog, dataset: str) -> Table:
    """Everything. The marks are taken first: what comes meanwhile is met again as a difference, to no harm."""
    started = time.monotonic()
    marks = catalog.gallery_marks(dataset, 0)
    images = catalog.gallery_images(dataset)
    frame = _placed(catalog, dataset, images.drop("paths"))
    frame, sets = _with_captions(frame, [], catalog.gallery_captions(dataset, 0))
    return Table(dataset, frame.rechunk(), int(images["paths"].sum()), sets, marks, started, time.monotonic() - started)


def _kept_up(catalog: Catalog, table: Table) -> Table:
    last_caption_id = table.marks["last_caption_id"]
    marks = catalog.gallery_marks(table.dataset, last_caption_id)
    if all(marks[name] == table.marks[name] for name in marks if name != "new_captions"):
        return table
    frame, paths, fields = table.frame, table.paths, table.fields
    if _images_changed(marks, table):
        fresh = catalog.gallery_new_files(table.dataset, table.marks["last_file_id"])
        if _must_read_again(marks, table, fresh):
            if time.monotonic() - table.read_at < _pause(table):
                marks = marks | {name: table.marks[name] for name in ("last_file_id", "near_duplicates", "splits")}
            else:
                return _read(catalog, table.dataset)
        elif fresh.height:
            frame, paths, fields = _appended(frame, fresh), paths + fresh.height, {}
    if marks["captions"] - table.marks["captions"] != marks["new_captions"]:
        last_caption_id = 0  # ids are given out before they are written: some came late, below the last one
    captions = catalog.gallery_captions(table.dataset, last_caption_id)
    frame, sets = _with_captions(frame, table.sets, captions)
    if frame is table.frame:
        return replace(table, marks=marks, paths=paths)
    return replace(table, frame=frame, paths=paths, sets=sets, marks=marks, fields=fields, searches=OrderedDict())


def _images_changed(marks: Mapping[str, int], table: Table) -> bool:
    return any(marks[name] != table.marks[name] for name in ("last_file_id", "near_duplicates", "splits"))


def _must_read_again(marks: Mapping[str, int], table: Table, fresh: pl.DataFrame) -> bool:
    same = all(marks[name] == table.marks[name] for name in ("near_duplicates", "splits"))
    if not same or fresh["known"].any():
        return True
    returned = fresh.filter(fresh["seen"]).join(table.frame.select("sha256"), on="sha256", how="anti")
    return returned.height > 0  # with captions that are older than the marks


def _pause(table: Table) -> float:
    """Seconds between two readings of everything: none where it is quick."""
    return PAUSE * table.reading_seconds if table.reading_seconds > LONG_SECONDS else 0


def _placed(catalog: Catalog, dataset: str, images: pl.DataFrame) -> pl.DataFrame:
    """With near-duplicate group and split."""
    import polars as pl

    groups, splits = catalog.gallery_groups(dataset), catalog.stored_splits(dataset)
    joined = images.join(groups, on="sha256", how="left", maintain_order="left").with_columns(
        pl.coalesce("near_duplicate_of", "sha256").alias("near_duplicate_of")
    )
    joined = joined.join(
        splits, left_on="near_duplicate_of", right_on="representative_sha256", how="left", maintain_order="left"
    )
    return joined.with_columns((pl.len().over("near_duplicate_of") == 1).alias("alone"))


def _appended(frame: pl.DataFrame, fresh: pl.DataFrame) -> pl.DataFrame:
    """With the images that no path showed before; their groups and splits come later."""
    import polars as pl

    new = fresh.drop("known", "seen").unique("sha256", keep="first", maintain_order=True)
    new = new.join(frame.select("sha256"), on="sha256", how="anti", maintain_order="left")
    new = new.with_columns(
        pl.col("sha256").alias("near_duplicate_of"), pl.lit(True).alias("alone"), pl.lit("").alias(FOLDED)
    )
    return pl.concat([frame, new], how="diagonal") if new.height else frame


def _with_captions(frame: pl.DataFrame, sets: list[str], captions: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """The frame with newer revisions put over those it has; sets by name."""

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
    """Every caption of an image in small letters, a line each: one column to look through instead of one a set."""
    import polars as pl

    lines = [pl.col(f"{CAPTION}{name}").str.to_lowercase() for name in sets]
    return pl.concat_str([pl.lit(""), *lines], separator="\n", ignore_nulls=True).alias(FOLDED)


def _rows_of(frame: pl.DataFrame, images: pl.Series) -> pl.DataFrame:
    """Where some images stand: row, sha256."""
    import polars as pl

    rows = frame.select(pl.int_range(pl.len()).alias("row"), "sha256")
    return rows.filter(pl.col("sha256").is_in(images.implode()))


def _with_many(frame: pl.DataFrame, name: str, revisions: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    new = revisions.select("sha256", *(pl.col(part).alias(f"new {part}") for part in PARTS.values()))
    frame = frame.join(new, on="sha256", how="left", maintain_order="left")
    touched = pl.col("new caption_id").is_not_null()
    columns = {f"{prefix}{name}": f"new {part}" for prefix, part in PARTS.items()}
    olds = {column: pl.col(column) if column in frame.columns else pl.lit(None) for column in columns}
    return frame.with_columns(
        pl.when(touched).then(pl.col(part)).otherwise(olds[column]).alias(column) for column, part in columns.items()
    ).drop(*columns.values())


def _with_a_few(frame: pl.DataFrame, name: str, revisions: pl.DataFrame) -> pl.DataFrame:
    """The same for some rows, as after an edit: thirty times as fast, since no other row is touched."""
    found = _rows_of(frame, revisions["sha256"]).join(revisions, on="sha256", how="inner")
    return frame.with_columns(
        frame[f"{prefix}{name}"].clone().scatter(found["row"], found[part]).alias(f"{prefix}{name}")
        for prefix, part in PARTS.items()
    )
