"""A folder of images was moved on disk: give its paths their new names, without reading the images again.

An image counts as the same if the file at its new place has its size, and its time or its SHA-256. Captions, versions
and splits go by SHA-256 and stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from curator.catalog import Catalog
from curator.catalog.checks import MOVED_TO
from curator.images.locations import Names, names
from curator.ingest.known import Known, KnownFile
from curator.ingest.store import Store, metadata_files_frame
from curator.ingest.walk import Entry, entry_of
from schemas.digest import sha256_file
from schemas.edge.words import plural
from schemas.errors import BadOption, NotFound
from schemas.progress import Progress, silent


class MovedResult(BaseModel):
    """Result of `curator moved`."""

    old: str
    new: str
    datasets: dict[str, int] = Field(description="Paths renamed, by dataset.")


@dataclass(frozen=True)
class _Move:
    """The rows of one ingested folder that get other paths."""

    root: str
    known: Known
    files: dict[str, tuple[KnownFile, Entry]]  # By the old path.


def moved(catalog: Catalog, old: Path, new: Path, person: str, progress: Progress = silent) -> MovedResult:
    """Rename every path below `old` to the same path below `new`. Writes nothing unless all images are there.

    Raises NotFound if there is no folder `new` or the catalog knows no image below `old`, BadOption if images are
    missing at the new place or are others.
    """
    if not new.is_dir():
        raise NotFound(f"{new}: there is no such folder. Give the folder that the images are in now.")
    source, target = old.absolute(), new.resolve()
    if source == target:
        raise BadOption(f"{new}: OLD and NEW are the same folder. Give the folder that the images were in as OLD.")
    naming = names(catalog)
    moves = {dataset: list(_moves(catalog, dataset, source, target, naming)) for dataset in catalog.dataset_names()}
    _refuse_others([move for found in moves.values() for move in found], source, target, progress)
    for dataset, found in moves.items():
        for move in found:
            _rename(catalog, dataset, move, source, target, person, naming)
    counts = {dataset: sum(len(move.files) for move in found) for dataset, found in moves.items() if found}
    return MovedResult(old=str(source), new=str(target), datasets=counts)


def account(result: MovedResult) -> str:
    """Return the result as text."""
    listed = [f"{dataset}: {plural(count, 'path')}" for dataset, count in result.datasets.items()]
    return "\n".join([*listed, f"{result.old} is {result.new} now. Captions, versions and splits stay as they are."])


def _moves(catalog: Catalog, dataset: str, old: Path, new: Path, naming: Names) -> Iterator[_Move]:
    """Yield the ingested folders at or below `old`, and those above it that have images there."""
    seen: set[str] = set()
    for stored in sorted(catalog.ingested_folders(dataset), key=len, reverse=True):
        if not naming.is_here(stored):
            continue
        root = naming.here(stored)
        known = Known.load(catalog, dataset, Path(root), naming)
        paths = [path for path in known.files if Path(path).is_relative_to(old) and path not in seen]
        seen.update(paths)
        if paths or Path(root).is_relative_to(old):
            yield _Move(root, known, {path: (known.files[path], _entry(path, old, new, known)) for path in paths})


def _entry(path: str, old: Path, new: Path, known: Known) -> Entry:
    place, name = _renamed(path, old, new), known.files[path].file_name
    try:
        return entry_of(Path(place), name)
    except OSError:
        return Entry(place, name, -1, 0)


def _renamed(path: str, old: Path, new: Path) -> str:
    """Return the path below `new`, or unchanged if it isn't `old` or below."""
    return f"{new}{path.removeprefix(str(old))}" if path == str(old) or path.startswith(f"{old}/") else path


def _refuse_others(moves: list[_Move], old: Path, new: Path, progress: Progress) -> None:
    files = [file for move in moves for file in move.files.values()]
    if not files:
        raise NotFound(f"{old}: the catalog has no image below this folder. `curator doctor` lists the folders it has.")
    others = []
    for done, (known, entry) in enumerate(files, start=1):
        if entry.size_bytes != known.size_bytes or (
            entry.mtime_ns != known.mtime_ns and sha256_file(Path(entry.path)) != known.image_sha256
        ):
            others.append(entry.path)
        progress("comparing images", done, len(files))
    if others:
        raise BadOption(
            f"{new}: {len(others)} of {plural(len(files), 'image')} aren't there or are others ({others[0]} is one)."
            " Put them there, then run it again; nothing was changed."
        )


def _rename(catalog: Catalog, dataset: str, move: _Move, old: Path, new: Path, person: str, naming: Names) -> None:
    """Write the new paths, end the old ones, and carry over what the last ingest knew of the folder."""
    renamed = partial(_renamed, old=old, new=new)
    root = renamed(move.root)
    store = Store(catalog, dataset, root, catalog.next_ingest_id(), naming, in_chunks=False)
    for path, (known, _) in move.files.items():
        store.add_gone(path, known)
    for known, entry in move.files.values():  # After the others: a new path may be the old one of another image.
        store.add_correction(entry, known, known.metadata)
    for reject in move.known.rejects.values():
        if renamed(reject.path) != reject.path:
            store.add_reject(reject, resolved=True)
            store.add_reject(replace(reject, path=renamed(reject.path)))
    store.flush()
    options: dict[str, Any] = dict(move.known.options or {})
    if options.get("metadata"):
        options["metadata"] = renamed(options["metadata"])
    tables = {renamed(path): status for path, status in move.known.metadata_files.items()}
    gone = {path: status for path, status in move.known.metadata_files.items() if renamed(path) != path}
    counts = {"files": len(move.files)}
    if root != move.root:
        left = metadata_files_frame({}, gone, naming)
        catalog.finish_ingest(
            dataset, naming.stored(move.root), store.ingest_id, person, {MOVED_TO: naming.stored(root)}, counts, left
        )
        gone, store.ingest_id = {}, catalog.next_ingest_id()
    seen = metadata_files_frame(tables, gone, naming)
    catalog.finish_ingest(dataset, naming.stored(root), store.ingest_id, person, options, counts, seen)
