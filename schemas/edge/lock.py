"""Locks between processes on one file system: the system releases a lock when the process that holds it ends.

The lock file stays afterwards, empty. A file system without flock is an error: an existence lock would outlive a kill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def only_process(path: Path, busy: Callable[[], Exception]) -> Iterator[None]:
    """Hold the lock file `path`. Raises `busy()` if another process holds it."""

    def refuse() -> None:
        raise busy()

    with one_at_a_time(path, refuse):
        yield


@contextmanager
def one_at_a_time(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock file `path`; if another process holds it, call `waiting` and wait until it is free."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
