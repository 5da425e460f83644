"""Place one image by reflink, copy or hard link, and verify its SHA-256."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import Literal

from schemas.digest import CHUNK_BYTES, sha256_file
from schemas.errors import AmatlError, ChecksumMismatch

Method = Literal["reflinked", "copied", "linked"]
FICLONE = 0x40049409  # ioctl in linux/fs.h: share the blocks of another file until one of them is written


class CannotLink(AmatlError):
    """The image can't be hard-linked into the snapshot. Leave out --link to copy it."""


def place(sha256: str, paths: Sequence[str], target: Path, link: bool) -> Method:
    """Place the image `sha256` at `target`, from the first path that still holds it.

    Raises ChecksumMismatch with every path, or CannotLink; then nothing is left at `target`.
    """
    problems = []
    for path in map(Path, paths):
        try:
            method, digest = _link(path, target) if link else _reflink_or_copy(path, target)
        except FileNotFoundError:
            problems.append(f"{path} is gone")
            continue
        except PermissionError:
            problems.append(f"{path} can't be read (permission denied)")
            continue
        if digest == sha256:
            return method
        target.unlink()
        problems.append(f"{path} has changed since it was ingested")
    raise ChecksumMismatch(f"{'; '.join(problems)}. Run curator ingest on its folder again, or put the file back.")


def _link(path: Path, target: Path) -> tuple[Method, str]:
    source = path.resolve()  # the file itself, not a symbolic link to it
    if not source.exists():
        raise FileNotFoundError(source)
    try:
        target.hardlink_to(source)
    except OSError as error:
        raise CannotLink(
            f"{path}: can't be hard-linked into the snapshot ({error.strerror}). Leave out --link to copy it."
        ) from error
    return "linked", sha256_file(target)


def _reflink_or_copy(path: Path, target: Path) -> tuple[Method, str]:
    with path.open("rb", buffering=0) as source, target.open("w+b", buffering=0) as copy:
        if _reflink(source, copy):
            return "reflinked", hashlib.file_digest(copy, "sha256").hexdigest()
        digest = hashlib.sha256()
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            unwritten = memoryview(chunk)
            while unwritten:  # an unbuffered write may be partial
                unwritten = unwritten[copy.write(unwritten) :]
        return "copied", digest.hexdigest()


def _reflink(source: FileIO, copy: FileIO) -> bool:
    """Return whether the blocks are shared (btrfs, XFS, bcachefs; same device)."""
    if not sys.platform.startswith("linux"):
        return False
    import fcntl

    try:
        fcntl.ioctl(copy.fileno(), FICLONE, source.fileno())
    except OSError:
        return False
    return os.fstat(copy.fileno()).st_size == os.fstat(source.fileno()).st_size
