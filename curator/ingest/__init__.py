"""Stage 1: index a folder of images and their metadata in the catalog. Changes no file.

    walk -> read tables -> read each new or changed image once (hash, strict decode, perceptual hash) -> rows, in chunks
         -> gone files, corrected metadata, rejects -> near-duplicate groups -> done

A file with the recorded size and time isn't opened again. After an interrupt the next ingest goes on from there.

If the catalog is on another machine, images that its service lacks are sent as they are read (sending.py), and paths
are recorded with this machine's name: `laptop:/photos/fox.png`.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel, Field

from curator.catalog import Catalog
from curator.images.locations import names
from curator.ingest.known import Known
from curator.ingest.measure import DEFAULT_MAX_PIXELS
from curator.ingest.near_duplicates import group
from curator.ingest.run import IngestRun
from curator.ingest.sending import sending
from curator.ingest.store import Store
from curator.ingest.walk import walk
from schemas.edge.words import plural
from schemas.errors import AmatlError, BadOption, NotFound
from schemas.progress import Progress, silent

__all__ = ["DEFAULT_MAX_PIXELS", "IngestResult", "ingest"]
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class IngestResult(BaseModel):
    """Counts of an ingest and of the dataset after it."""

    dataset: str
    root: str
    ingest_id: int
    files: int = Field(description="Files in the folder that may be images.")
    read: int = Field(description="Of those, opened: new or changed.")
    added: int = Field(description="Paths that weren't on record.")
    changed: int = Field(description="Paths that hold another image than before.")
    corrected: int = Field(description="Paths with the same image and other metadata.")
    gone: int = Field(description="Recorded paths that hold no image any more.")
    unchanged: int = Field(description="Paths that are as before.")
    images: int = Field(description="Distinct images of the whole dataset, by their bytes.")
    paths: int = Field(description="Paths of the whole dataset.")
    duplicate_paths: int = Field(description="Further paths of an image that another path had first.")
    near_duplicate_groups: int = Field(description="Groups of several almost equal images.")
    near_duplicate_images: int = Field(description="Pictures in those groups.")
    rejects: int = Field(description="What of this folder can't be used; `curator rejects` lists it.")
    rejects_by_reason: dict[str, int]
    notes: list[str]
    seconds: float


def ingest(
    catalog: Catalog,
    folder: Path,
    dataset: str,
    *,
    metadata: Path | None = None,
    join_on: str | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    person: str,
    threads: int | None = None,
    progress: Progress = silent,
) -> IngestResult:
    """Index every image in `folder` and below as `dataset`; see walk.py for files, join.py for metadata.

    `join_on` is the column of the `metadata` table that names the images, file_name by default. Raises NotFound,
    BadOption, BadTable (a table given by name that can't be read).
    """

    started = time.monotonic()
    root, table = _check(folder, dataset, metadata, join_on, max_pixels)
    options = {"metadata": table and str(table), "join_on": join_on or "file_name", "max_pixels": max_pixels}
    naming, stored = names(catalog), names(catalog).stored(str(root))
    with sending(catalog.remote_disk, progress) as upload:
        if upload:
            options["max_bytes"] = upload.most_bytes
        known = Known.load(catalog, dataset, root, naming)
        listing = walk(root, _left_out(catalog, table), progress)
        store = Store(catalog, dataset, str(root), catalog.next_ingest_id(), naming, upload)
        run = IngestRun(known, listing, store, table, options, threads, progress)
        run.go()
    group_near_duplicates(catalog, dataset, progress)
    counts: dict[str, Any] = run.counts() | _dataset_counts(catalog, dataset)
    catalog.finish_ingest(dataset, stored, store.ingest_id, person, options, counts, run.metadata_files())
    return IngestResult(
        dataset=dataset,
        root=stored,
        ingest_id=store.ingest_id,
        notes=run.notes + _notes(counts),
        seconds=round(time.monotonic() - started, 3),
        **counts,
    )


def group_near_duplicates(catalog: Catalog, dataset: str, progress: Progress = silent) -> int:
    """Put images without a near-duplicate group into one; return their number."""
    new = catalog.ungrouped_images(dataset)
    if new.is_empty():
        return 0
    progress("grouping near-duplicates", 0, len(new))
    old = catalog.representatives(dataset)
    position, distance = group(old["phash"].to_numpy(), new["phash"].to_numpy())
    everything = pl.concat([old["image_sha256"], new["image_sha256"]])
    rows = new.select("image_sha256").with_columns(
        representative_sha256=everything.gather(pl.Series(position)), distance=pl.Series(distance)
    )
    catalog.add_near_duplicates(dataset, rows)
    progress("grouping near-duplicates", len(new), len(new))
    return len(new)


def _check(
    folder: Path, dataset: str, metadata: Path | None, join_on: str | None, max_pixels: int
) -> tuple[Path, Path | None]:
    """Return the absolute folder and table. Raises for options that can't work, before anything is read."""
    if not NAME.fullmatch(dataset):
        raise BadOption(f"--dataset {dataset!r}: use a to z, 0 to 9, - and _ only.")
    if join_on is not None and metadata is None:
        raise BadOption("--join-on needs --metadata FILE: it names a column of that table.")
    if max_pixels < 1:
        raise BadOption(f"--max-pixels {max_pixels}: must be at least 1.")
    if not folder.exists():
        raise NotFound(f"{folder}: there is no such folder.")
    if not folder.is_dir():
        raise AmatlError(f"{folder}: not a folder. Give the folder that the images are in.")
    if metadata is not None and not metadata.is_file():
        raise NotFound(f"{metadata}: there is no such metadata table.")
    return folder.resolve(), metadata and metadata.resolve()


def _left_out(catalog: Catalog, table: Path | None) -> list[Path]:
    """Return files of our own that may be in the folder."""
    own = [] if catalog.remote_disk else [catalog.path, Path(f"{catalog.path}.wal")]
    return [*own, *([table] if table else [])]


def _dataset_counts(catalog: Catalog, dataset: str) -> dict[str, int]:
    counts = catalog.dataset_counts(dataset)
    del counts["rejects"]  # of all folders; the result says those of this one
    return counts | {"duplicate_paths": counts["paths"] - counts["images"]}


def _notes(counts: dict[str, Any]) -> list[str]:
    """Return notes for the user."""
    further = counts["duplicate_paths"]
    if not further:
        return []
    subject = plural(further, "path is a further copy", "paths are further copies")
    return [f"{subject} of the same image; the metadata of the path seen first counts."]
