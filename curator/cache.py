"""What can be made or fetched again lies in one folder on this machine: `rm -r` of it is always safe."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$AMATL_CACHE`, else `~/.cache/amatl`."""
    return Path(os.environ.get("AMATL_CACHE") or Path.home() / ".cache" / "amatl")
