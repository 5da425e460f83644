"""Build a folder under a hidden name and rename it when complete."""

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
    """Yield a hidden sibling of `out`, removed at the end unless published.

    First removes siblings of killed processes; a living one locks its folder.
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
    """Rename the folder to `out`. Raise AlreadyExists if `out` appeared meanwhile."""
    if os.path.lexists(out):
        raise AlreadyExists(f"{out}: appeared meanwhile and isn't overwritten. Choose another name.")
    folder.rename(out)


def _remove_if_abandoned(folder: Path) -> None:
    lock = _lock(folder)
    if lock is not None:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _lock(folder: Path) -> int | None:
    """Return a descriptor that holds the lock, or None if another process holds it."""
    # Lock the folder itself: a lock file beside it would remain, one inside would be published.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if lock_descriptor(descriptor, blocking=False):
            return descriptor
    except OSError:  # a file system without locks
        pass
    os.close(descriptor)
    return None
