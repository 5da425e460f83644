"""Adapters: checkpoints with only the trained weights. `adapter.json` has the digest of the base they fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from schemas.digest import sha256_file, sha256_json
from schemas.document import Document, FileRef
from schemas.errors import ChecksumMismatch, NotFound
from schemas.run import BaseModelRef

FILE = "adapter.json"


class Adapter(Document):
    """An adapter's base, settings and weights."""

    type: Literal["amatl/adapter/v1"] = "amatl/adapter/v1"
    method: str
    base: BaseModelRef
    base_folder: str = Field(description="Absolute path of the base; its name may be relative.")
    settings: dict[str, Any]
    weights: FileRef = Field(description="The file to load; other files hold the same weights for other programs.")


def weights_of(folder: Path, adapter: Adapter) -> Path:
    """Return the path of the weights. Raise NotFound, or ChecksumMismatch if they changed."""
    path = folder / adapter.weights.path
    if not path.is_file():
        raise NotFound(f"{path}: missing. Copy the checkpoint again, or use another one.")
    if sha256_file(path) != adapter.weights.sha256:
        raise ChecksumMismatch(f"{path}: changed since it was saved. Copy the checkpoint again, or use another one.")
    return path


def combined(base: str, adapter: Adapter) -> str:
    """Return the digest of a base with this adapter."""
    return sha256_json([base, adapter.weights.sha256])
