"""Stage: delete unused files in the service's data folder, if untouched for days.

- *uploads* that no ingest named. Those named once are kept even if all paths are gone, unless `gone` is given: they
  may be the last copies.
- *thumbnails* of images in no dataset. They are made again when needed.

A running ingest touches the files it relies on, so it loses nothing.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, Field

from curator.catalog import Catalog
from curator.catalog.errors import OnAnotherMachine
from curator.catalog.remote import service_folder
from curator.images.locations import uploads_folder
from schemas.edge.words import plural, size
from schemas.errors import BadOption
from schemas.progress import Progress, silent

DAYS = 7
UPLOAD = re.compile(r"([0-9a-f]{64})")
THUMBNAIL = re.compile(r"([0-9a-f]{64})\.jpg")
# A file being written; a killed process leaves it behind.
UNFINISHED = re.compile(r"\.[0-9a-f]{64}\.[0-9a-f.]+")
REPORT_EVERY = 1_000


class Pruned(BaseModel):
    """Deleted files of one kind."""

    files: int = 0
    size_bytes: int = 0


class PruneResult(BaseModel):
    """In a dry run: files that would be deleted."""

    folder: str
    dry_run: bool
    days: int = Field(description="Only files untouched for this many days.")
    gone: bool = Field(description="Whether `uploads_gone` were deleted too; else they are only counted.")
    uploads: Pruned = Field(description="Uploaded images that no ingest named.")
    uploads_gone: Pruned = Field(description="Uploaded images that are in no dataset any more.")
    thumbnails: Pruned = Field(description="Thumbnails of images that are in no dataset any more.")
    unfinished: Pruned = Field(description="Partial files of killed processes.")


def prune(
    catalog: Catalog, days: int = DAYS, gone: bool = False, dry_run: bool = False, progress: Progress = silent
) -> PruneResult:
    """Raise BadOption, OnAnotherMachine for a remote catalog."""
    if days < 1:
        raise BadOption(f"--days {days}: give at least 1, so that a running ingest loses nothing.")
    if catalog.remote_disk:
        raise OnAnotherMachine(f"{catalog.name}: the service's files are on its own machine. Run curator prune there.")
    uploads, thumbnails = uploads_folder(catalog.path), service_folder(catalog.path) / "thumbnails"
    # List the files before asking the catalog, so that files which arrive meanwhile are not among them.
    upload_files, thumbnail_files = list(_files(uploads)), list(_files(thumbnails))
    rows = catalog.images_on_record()
    recorded, present = set(rows["image_sha256"]), set(rows.filter("here")["image_sha256"])
    unnamed = _without(upload_files, UPLOAD, recorded)
    lost = [file for file in _without(upload_files, UPLOAD, present) if file not in set(unnamed)]
    unused = _without(thumbnail_files, THUMBNAIL, present)
    unfinished = [file for file in (*upload_files, *thumbnail_files) if UNFINISHED.fullmatch(file.name)]
    total = sum(map(len, (unnamed, lost, unused, unfinished)))
    sweep = _Sweep(time.time() - days * 86_400, dry_run, total, progress)
    return PruneResult(
        folder=str(service_folder(catalog.path)),
        dry_run=dry_run,
        days=days,
        gone=gone,
        uploads=sweep.delete(unnamed),
        uploads_gone=sweep.delete(lost, keep=not gone),
        thumbnails=sweep.delete(unused),
        unfinished=sweep.delete(unfinished),
    )


def text_of_prune(result: PruneResult) -> str:
    kinds = {
        "uploaded images that no ingest named": result.uploads,
        "uploaded images that are in no dataset any more": result.uploads_gone if result.gone else Pruned(),
        "thumbnails of images that are in no dataset any more": result.thumbnails,
        "partial files": result.unfinished,
    }
    lines = [f"{pruned.files:>9,}  {name}, {size(pruned.size_bytes)}" for name, pruned in kinds.items() if pruned.files]
    freed = size(sum(pruned.size_bytes for pruned in kinds.values()))
    if not lines:
        lines = [f"Nothing to remove in {result.folder}: no unused file is older than {plural(result.days, 'day')}."]
    elif result.dry_run:
        lines.append(f"{freed} would be freed. Nothing was removed; run it without --dry-run to remove these files.")
    else:
        lines.append(f"Freed {freed}.")
    if (lost := result.uploads_gone).files and not result.gone:
        images = f"{plural(lost.files, 'uploaded image')} in no dataset any more, {size(lost.size_bytes)}"
        lines.append(f"Kept: {images}. They may be the last copies; remove them with --gone.")
    return "\n".join(lines)


class _Sweep:
    def __init__(self, before: float, dry_run: bool, total: int, progress: Progress) -> None:
        self._before, self._dry_run, self._progress = before, dry_run, progress
        self._done, self._total = 0, total

    def delete(self, files: Sequence[Path], keep: bool = False) -> Pruned:
        """Delete old files, unless `keep`; return their number and size."""
        pruned = Pruned()
        for file in files:
            self._done += 1
            if self._done % REPORT_EVERY == 0 or self._done == self._total:
                self._progress("pruning", self._done, self._total)
            try:
                status = file.stat()
                if status.st_mtime >= self._before:
                    continue
                if not (keep or self._dry_run):
                    file.unlink()
            except FileNotFoundError:  # another process deleted it
                continue
            pruned.files, pruned.size_bytes = pruned.files + 1, pruned.size_bytes + status.st_size
        return pruned


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of folder/ab/name. Links are not followed."""
    if not folder.is_dir():
        return
    for subfolder in sorted(folder.iterdir()):
        if subfolder.is_dir() and not subfolder.is_symlink():
            with os.scandir(subfolder) as entries:
                yield from (Path(entry.path) for entry in entries if entry.is_file(follow_symlinks=False))


def _without(files: Sequence[Path], name: re.Pattern[str], images: set[str]) -> list[Path]:
    """Return the files matching `name` whose image is not in `images`."""
    matches = ((file, name.fullmatch(file.name)) for file in files)
    return [file for file, match in matches if match and match[1] not in images]
