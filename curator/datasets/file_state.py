"""Compare a dataset's files with the record of their ingest; a remote catalog's service does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from curator.catalog import Catalog
from curator.images.locations import split, uploaded, uploads_folder
from schemas.progress import Progress, silent

REPORT_EVERY = 1_000


@dataclass
class FilesState:
    """Missing paths, paths of another size or time, and the number of files."""

    missing: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    files: int = 0


def files_state(catalog: Catalog, dataset: str, progress: Progress = silent) -> FilesState:
    """Check every recorded path by size and time; no image is opened.

    An upload is named by its content: only its size is compared.
    """
    if catalog.remote_disk:
        told = catalog.remote_disk.files_state(dataset)
        progress(f"checking {dataset}", told["files"], told["files"])
        return FilesState(told["missing"], told["changed"], told["files"])
    rows = catalog.files_on_record(dataset)
    state = FilesState(files=rows.height)
    folder = uploads_folder(catalog.path)
    for done, row in enumerate(rows.iter_rows(), start=1):
        _look(row, folder, state)
        if done % REPORT_EVERY == 0 or done == len(rows):
            progress(f"checking {dataset}", done, len(rows))
    return state


def _look(row: Sequence[object], folder: Path, state: FilesState) -> None:
    path, image_sha256, size_bytes, mtime_ns = row
    is_upload = split(str(path)) is not None
    try:
        status = (uploaded(folder, str(image_sha256)) if is_upload else Path(str(path))).stat()
    except OSError:
        state.missing.append(str(path))
        return
    if status.st_size != size_bytes or (status.st_mtime_ns != mtime_ns and not is_upload):
        state.changed.append(str(path))
