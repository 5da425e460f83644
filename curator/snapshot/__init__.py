"""Stage 5: export committed versions of a dataset to an immutable folder for training. Format: schemas/spec/.

Decide everything, write the files under a hidden name (manifest last), store the split, rename the folder, record it
in the catalog. An interruption before the rename leaves only a hidden folder, which the next snapshot removes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from curator.catalog import Catalog
from curator.images.locations import names
from curator.images.originals import Originals
from curator.snapshot.contents import Contents, contents_of, is_already_at, manifest_of
from curator.snapshot.files import write_images, write_metadata, write_samples
from curator.snapshot.preview import preview
from curator.snapshot.result import SnapshotPreview, SnapshotResult, facts_of
from curator.snapshot.select import Holdout, NothingToExport, select
from curator.snapshot.tracks import columns, tracks_of
from curator.snapshot.workspace import publish, workspace
from schemas.document import now
from schemas.errors import BadOption
from schemas.progress import Progress, silent
from schemas.snapshot import SnapshotManifest

__all__ = ["Holdout", "NothingToExport", "SnapshotPreview", "SnapshotResult", "preview", "snapshot"]


def snapshot(
    catalog: Catalog,
    references: Sequence[str],
    out: Path,
    where: str | None = None,
    holdout: Holdout | None = None,
    keep_missing: bool = False,
    link: bool = False,
    person: str = "",
    progress: Progress = silent,
    keep_rejected: bool = False,
) -> SnapshotResult:
    """Export `references` (`set@n`, one track each; the first becomes `text`) to `out`.

    Does nothing if `out` already holds this content. Raises AlreadyExists if it holds anything else, BadOption,
    BadExpression, CannotHoldOut, NothingToExport; ChecksumMismatch if an image file changed.
    """
    holdout = holdout or Holdout()
    if link and catalog.remote_disk:
        raise BadOption("--link: the images come from another machine, so they can't be linked. Leave it out.")
    progress("choosing images", 0, None)
    dataset, sources = tracks_of(catalog, references)
    samples = select(catalog, dataset, sources, where, holdout, keep_missing, keep_rejected)
    contents = contents_of(dataset, sources, samples)
    if is_already_at(contents, out):
        _store_split(catalog, contents)
        _note(catalog, contents, out, person)
        return _result(contents, out, unchanged=True, placed={})
    recorded = dict(catalog.image_paths(dataset).iter_rows())
    with workspace(out) as folder:
        placed = write_images(folder, contents.samples.table, recorded, Originals(catalog), link, progress)
        _write_tables(folder, contents, progress)
        manifest_of(contents, folder, where, holdout.text, person).write(folder / "manifest.json")
        _store_split(catalog, contents)
        publish(folder, out)
    _note(catalog, contents, out, person)
    return _result(contents, out, unchanged=False, placed=dict(placed))


def _write_tables(folder: Path, contents: Contents, progress: Progress) -> None:
    progress("writing tables", 0, None)
    table = contents.samples.table
    for split in contents.split_sizes:
        write_metadata(folder / split, table.filter(pl.col("split") == split), columns(contents.sources))
    write_samples(folder / "samples.parquet", table, contents.sources)


def _store_split(catalog: Catalog, contents: Contents) -> None:
    """Called late, so that a failed snapshot stores nothing."""
    new = contents.samples.assignment.new
    if new:
        rows = pl.DataFrame({"representative_sha256": list(new), "split": list(new.values())})
        catalog.store_splits(contents.dataset, rows, now())


def _note(catalog: Catalog, contents: Contents, out: Path, person: str) -> None:
    manifest = SnapshotManifest.read(out / "manifest.json").model_dump_json()
    size_bytes = int(contents.samples.table["size_bytes"].sum())
    folder = names(catalog).stored(str(out.resolve()))
    identities = (contents.identity, contents.images_identity)
    catalog.add_snapshot(*identities, contents.dataset, folder, manifest, size_bytes, person)


def _result(contents: Contents, out: Path, unchanged: bool, placed: dict[str, int]) -> SnapshotResult:
    return SnapshotResult(**facts_of(contents), folder=out, unchanged=unchanged, placed=placed)
