"""List a folder without opening a file: possible images, metadata files, rejects.

The rules, in this order:

- Left out silently: hidden files and folders (names that start with a dot), `Thumbs.db`, `desktop.ini`, `__MACOSX`;
  texts about the folder (README, LICENSE, NOTICE, ...); the `--metadata` file and the catalog.
- `metadata.jsonl`, `metadata.csv`, `metadata.parquet`: tables of a Hugging Face imagefolder.
- `fox.txt` or `fox.png.txt` beside `fox.png`: its sidecar. Another `.txt` is a reject, row-without-image.
- Everything else is opened and judged by its bytes, whatever its suffix: an image, or a reject (not-an-image, ...).

Links are followed, a folder never twice. Pipes and sockets are rejects and never opened.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from curator.images.unusable import Reason, Reject
from schemas.progress import Progress, silent

IMAGE_SUFFIXES = {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
TABLE_NAMES = {"metadata.jsonl", "metadata.csv", "metadata.parquet"}
SYSTEM_NAMES = {"thumbs.db", "desktop.ini", "__macosx"}
ABOUT_STEMS = {"readme", "license", "licence", "copying", "notice", "attribution", "authors", "credits", "changelog"}
ABOUT_SUFFIXES = {"", ".txt", ".md", ".rst", ".html", ".pdf"}
REPORT_EVERY = 5_000


@dataclass(frozen=True)
class Entry:
    """A file as its folder lists it. `file_name` is relative to the ingested folder, with forward slashes."""

    path: str
    file_name: str
    size_bytes: int
    mtime_ns: int

    def reject(self, reason: Reason, detail: str) -> Reject:
        """Return a reject of this file."""
        return Reject(self.path, reason, detail, self.size_bytes, self.mtime_ns)


@dataclass
class Listing:
    """The files of a folder, sorted by file_name. `sidecars` are keyed by the file_name of their image."""

    candidates: list[Entry] = field(default_factory=list)
    tables: list[Entry] = field(default_factory=list)
    sidecars: dict[str, Entry] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    unread_folders: list[str] = field(default_factory=list)


class _Passed(NamedTuple):
    """Files to leave out. Names are compared first, since resolving every path of a large folder is slow."""

    names: set[str]
    paths: set[str]


def walk(root: Path, left_out: Iterable[Path] = (), progress: Progress = silent) -> Listing:
    """List `root`, an absolute folder, and all below it, without the files `left_out`. Opens no file."""
    listing = Listing()
    passed = _Passed({path.name for path in left_out}, {os.path.realpath(path) for path in left_out})
    texts: list[Entry] = []
    seen: set[tuple[int, int]] = set()
    folders = [root]
    done = 0
    while folders:
        for found in _scan(folders.pop(), seen, listing):
            done += 1
            if done % REPORT_EVERY == 0:
                progress("listing files", done, None)
            _sort_in(found, root, passed, folders, texts, listing)
    for entries in (listing.candidates, listing.tables, texts):
        entries.sort(key=lambda entry: entry.file_name)
    _pair_texts(texts, listing)
    progress("listing files", done, done)
    return listing


def entry_of(path: Path, file_name: str) -> Entry:
    """Return the entry of one file outside a walk. Raises OSError."""
    status = path.stat()
    return Entry(str(path), file_name, status.st_size, status.st_mtime_ns)


def _scan(folder: Path, seen: set[tuple[int, int]], listing: Listing) -> list[os.DirEntry[str]]:
    """Return the entries of a folder that wasn't scanned before; an unreadable one is a reject."""
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            return []
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name, reverse=True)
    except OSError as error:
        listing.rejects.append(Reject(_printable(str(folder)), Reason.UNREADABLE, f"folder: {error.strerror}"))
        listing.unread_folders.append(str(folder))
        return []


def _sort_in(
    found: os.DirEntry[str], root: Path, passed: _Passed, folders: list[Path], texts: list[Entry], listing: Listing
) -> None:
    name = found.name.lower()
    if name.startswith(".") or name in SYSTEM_NAMES:
        return
    try:
        status = found.stat()
    except OSError as error:
        what = "a link to nothing" if found.is_symlink() else error.strerror or str(error)
        listing.rejects.append(Reject(_printable(found.path), Reason.UNREADABLE, what))
        return
    if stat.S_ISDIR(status.st_mode):
        folders.append(Path(found.path))
        return
    path = PurePosixPath(name)
    if found.name in passed.names and os.path.realpath(found.path) in passed.paths:
        return
    if path.stem in ABOUT_STEMS and path.suffix in ABOUT_SUFFIXES:
        return
    if problem := _unlistable(found.path, status.st_mode):
        listing.rejects.append(problem)
        return
    file_name = Path(found.path).relative_to(root).as_posix()
    entry = Entry(found.path, file_name, status.st_size, status.st_mtime_ns)
    kind = listing.tables if name in TABLE_NAMES else texts if path.suffix == ".txt" else listing.candidates
    kind.append(entry)


def _unlistable(path: str, mode: int) -> Reject | None:
    if not stat.S_ISREG(mode):
        return Reject(_printable(path), Reason.NOT_AN_IMAGE, "not a file, but a pipe, socket or device")
    if _printable(path) != path:
        return Reject(_printable(path), Reason.UNREADABLE, "its name isn't UTF-8; rename it")
    return None


def _printable(path: str) -> str:
    """Return the path with bytes that aren't UTF-8 escaped."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _pair_texts(texts: list[Entry], listing: Listing) -> None:
    """Give each image its sidecar; other texts are rejects."""
    by_name = {entry.file_name: entry for entry in texts}
    for candidate in listing.candidates:
        path = PurePosixPath(candidate.file_name)
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        for name in (str(path.with_suffix(".txt")), f"{path}.txt"):
            if name in by_name:
                listing.sidecars[candidate.file_name] = by_name[name]
                break
    claimed = {entry.path for entry in listing.sidecars.values()}
    for entry in texts:
        if entry.path not in claimed:
            detail = f"no image called {PurePosixPath(entry.file_name).stem}.* beside it"
            listing.rejects.append(entry.reject(Reason.ROW_WITHOUT_IMAGE, detail))
