"""What a kill left in the cache: files and folders under a temporary name, which nothing else would ever remove."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

UNUSED_SECONDS = 24 * 3600  # Longer than anything is written, on whichever machine that shares the cache.
TEMPORARY = ".*.tmp"
PLACES = ("latents/*", "opacity/*", "text/*", "class/*", "base", "models", "snapshots/*")
"""Where this program writes in its cache. Others' files there, torch's too, are theirs."""


def remove_leftovers(cache: Path) -> None:
    """Removes what has a temporary name and hasn't been written to for a day. What can't be removed stays."""
    since = time.time() - UNUSED_SECONDS
    for path in [path for place in PLACES for path in cache.glob(f"{place}/{TEMPORARY}")]:
        with suppress(OSError):
            if _last_written(path) < since:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _last_written(path: Path) -> float:
    """Seconds since 1970, of the newest file or folder in it."""
    return max(found.lstat().st_mtime for found in _within(path))


def _within(path: Path) -> Iterator[Path]:
    yield path
    if path.is_dir() and not path.is_symlink():
        yield from path.rglob("*")
