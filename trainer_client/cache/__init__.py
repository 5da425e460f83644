"""The folder of cached latents and text embeddings, shared by all runs."""

from __future__ import annotations

import os
from pathlib import Path


def default_folder() -> Path:
    """`$AMATL_CACHE`, else `~/.cache/amatl`."""
    return Path(os.environ.get("AMATL_CACHE") or Path.home() / ".cache" / "amatl")
