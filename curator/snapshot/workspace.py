"""A folder that appears whole or not at all: built under a hidden name beside its place, renamed at the end."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import lock_descriptor

from schemas.errors import AlreadyExists

SUFFIX = ".partial"


@contextmanager
def workspace(out: Path) -> Iterator[Path]:
    """A hidden sibling of `out` to build in; whatever of it is still there at the end is removed.

    Siblings that killed processes left behind are removed first. A living process holds a lock on its own.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    for stale in out.parent.glob(f".{glob.escape(out.name)}.*{SUFFIX}"):
        _remove_if_abandoned(stale)
    folder = out.parent / f".{out.name}.{os.getpid()}{SUFFIX}"
    folder.mkdir()
    lock = _lock(folder)
    try:
        yield folder
    finally:
        if lock is not None:
            os.close(lock)
        if folder.exists():
            shutil.rmtree(folder)


def publish(folder: Path, out: Path) -> None:
    """Gives the finished folder its name, in one step. Raises AlreadyExists where something has taken it meanwhile."""
    if os.path.lexists(out):
        raise AlreadyExists(f"{out}: appeared while the snapshot was made and isn't overwritten. Choose another name.")
    folder.rename(out)


def _remove_if_abandoned(folder: Path) -> None:
    lock = _lock(folder)
    if lock is not None:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _lock(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock until closed (or the process ends); None where another has it."""
    # Locks the folder itself: a lock file beside it would stay, and one inside would be part of what is published.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if lock_descriptor(descriptor, blocking=False):
            return descriptor
    except OSError:  # a file system without locks
        pass
    os.close(descriptor)
    return None
