"""The folder for everything that can be made or fetched again: `rm -r` of it is always safe."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return `$AMATL_CACHE`, else `~/.cache/amatl`."""
    return Path(os.environ.get("AMATL_CACHE") or Path.home() / ".cache" / "amatl")
