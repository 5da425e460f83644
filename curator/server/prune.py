"""Stage: frees disk in the service's data folder of what nothing refers to any more.

Of two kinds there, nothing says by itself that they are done with:
- *uploads*: pictures sent by an ingest on another machine that was never finished, so that no path names them. What a
  path named once is kept, also where every path of it is gone (it may be the last copy), unless that is asked for.
- *thumbnails*: of images that no dataset has any more. One that is missed is made again.

All else there is named by something that lasts: pictures of runs by their reports, tokens and keys; jobs go by
themselves after a while. Only what lies untouched for days goes, and an ingest that is told that a picture is there
touches it: so that one under way loses nothing.
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
# What is being written; a killed process leaves it.
UNFINISHED = re.compile(r"\.[0-9a-f]{64}\.[0-9a-f.]+")
REPORT_EVERY = 1_000


class Pruned(BaseModel):
    """Files of a kind that went, or would go."""

    files: int = 0
    size_bytes: int = 0


class PruneResult(BaseModel):
    """What was freed, or would be."""

    folder: str
    dry_run: bool
    days: int = Field(description="Only what lay untouched for so long.")
    gone: bool = Field(description="`uploads_gone` went, too; else they are only counted.")
    uploads: Pruned = Field(description="Pictures that were sent, and that no ingest named.")
    uploads_gone: Pruned = Field(description="Pictures that were sent, of images that no dataset has any more.")
    thumbnails: Pruned = Field(description="Of images that no dataset has any more.")
    unfinished: Pruned = Field(description="Half-written files that a killed process left.")


def prune(
    catalog: Catalog, days: int = DAYS, gone: bool = False, dry_run: bool = False, progress: Progress = silent
) -> PruneResult:
    """Removes what nothing refers to and lay untouched for `days`; with `gone` also uploads of images that are gone.

    Raises BadOption, OnAnotherMachine by URL.
    """
    if days < 1:
        raise BadOption(f"--days {days}: at least 1, so that an ingest under way loses nothing.")
    if catalog.distant:
        raise OnAnotherMachine(f"{catalog.name}: what is pruned lies on the service's own machine. Run it there.")
    uploads, thumbnails = uploads_folder(catalog.path), service_folder(catalog.path) / "thumbnails"
    # Looked at before the catalog is asked: what comes meanwhile isn't among them.
    sent, drawn = list(_files(uploads)), list(_files(thumbnails))
    rows = catalog.images_on_record()
    known, here = set(rows["image_sha256"]), set(rows.filter("here")["image_sha256"])
    unnamed = _but(sent, UPLOAD, known)
    lost = [file for file in _but(sent, UPLOAD, here) if file not in set(unnamed)]
    unwanted = _but(drawn, THUMBNAIL, here)
    unfinished = [file for file in (*sent, *drawn) if UNFINISHED.fullmatch(file.name)]
    total = sum(map(len, (unnamed, lost, unwanted, unfinished)))
    sweep = _Sweep(time.time() - days * 86_400, dry_run, total, progress)
    return PruneResult(
        folder=str(service_folder(catalog.path)),
        dry_run=dry_run,
        days=days,
        gone=gone,
        uploads=sweep.of(unnamed),
        uploads_gone=sweep.of(lost, keep=not gone),
        thumbnails=sweep.of(unwanted),
        unfinished=sweep.of(unfinished),
    )


def account(result: PruneResult) -> str:
    kinds = {
        "sent pictures that no ingest named": result.uploads,
        "sent pictures of images that no dataset has any more": result.uploads_gone if result.gone else Pruned(),
        "thumbnails of images that no dataset has any more": result.thumbnails,
        "half-written files": result.unfinished,
    }
    lines = [f"{found.files:>9,}  {name}, {size(found.size_bytes)}" for name, found in kinds.items() if found.files]
    freed = size(sum(found.size_bytes for found in kinds.values()))
    if not lines:
        lines = [f"Nothing to remove in {result.folder} that lay untouched for {plural(result.days, 'day')}."]
    elif result.dry_run:
        lines.append(f"{freed} would be free again. Nothing was removed: without --dry-run it is.")
    else:
        lines.append(f"Removed: {freed} are free again.")
    if (lost := result.uploads_gone).files and not result.gone:
        kept = f"{plural(lost.files, 'sent picture')} of images that no dataset has any more, {size(lost.size_bytes)}"
        lines.append(f"Kept: {kept}. They may be the last copies; --gone removes them, too.")
    return "\n".join(lines)


class _Sweep:
    """Removes files that are older than a time."""

    def __init__(self, before: float, dry_run: bool, total: int, progress: Progress) -> None:
        self._before, self._dry_run, self._progress = before, dry_run, progress
        self._done, self._total = 0, total

    def of(self, files: Sequence[Path], keep: bool = False) -> Pruned:
        """Those of these that are old enough, removed unless they are to be kept."""
        found = Pruned()
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
            except FileNotFoundError:  # somebody else was quicker
                continue
            found.files, found.size_bytes = found.files + 1, found.size_bytes + status.st_size
        return found


def _files(folder: Path) -> Iterator[Path]:
    """The files of a folder that is by content: folder/ab/name. Links aren't followed."""
    if not folder.is_dir():
        return
    for shelf in sorted(folder.iterdir()):
        if shelf.is_dir() and not shelf.is_symlink():
            with os.scandir(shelf) as entries:
                yield from (Path(entry.path) for entry in entries if entry.is_file(follow_symlinks=False))


def _but(files: Sequence[Path], name: re.Pattern[str], images: set[str]) -> list[Path]:
    """Those that are named as `name` is, but for those of some images. What has another name isn't ours to remove."""
    matches = ((file, name.fullmatch(file.name)) for file in files)
    return [file for file, match in matches if match and match[1] not in images]
