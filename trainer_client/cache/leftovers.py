"""Remove temporary files of killed processes."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path

UNUSED_SECONDS = 24 * 3600  # No write takes this long on any machine that shares the cache.
TEMPORARY = ".*.tmp"
# Only folders that this program writes: torch and others keep files in the cache too.
FOLDERS = ("latents/*", "opacity/*", "text/*", "class/*", "base", "models", "snapshots/*")


def remove_leftovers(cache: Path) -> None:
    """Remove temporary entries older than a day, as far as possible."""
    since = time.time() - UNUSED_SECONDS
    for path in [path for folder in FOLDERS for path in cache.glob(f"{folder}/{TEMPORARY}")]:
        with suppress(OSError):
            if _last_written(path) < since:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _last_written(path: Path) -> float:
    """Return the newest modification time in `path`, in seconds since 1970."""
    paths = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
    return max(entry.lstat().st_mtime for entry in paths)
