"""The cache folder, shared by all runs."""

from __future__ import annotations

import os
from pathlib import Path


def default_folder() -> Path:
    """Return `$AMATL_CACHE`, or `~/.cache/amatl` if it is unset."""
    return Path(os.environ.get("AMATL_CACHE") or Path.home() / ".cache" / "amatl")
