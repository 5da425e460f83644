"""Adapters: checkpoints that hold only what was trained, beside a document that says on which base.

The document, `adapter.json`, names the base by digest, so that an update is never put on another model unnoticed.
"""

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
    """What a folder with trained weights needs to be put on its base again."""

    type: Literal["amatl/adapter/v1"] = "amatl/adapter/v1"
    method: str
    base: BaseModelRef
    base_folder: str = Field(description="Where it was found, as an absolute path; its name may be relative.")
    settings: dict[str, Any]
    weights: FileRef = Field(description="The file that is read to go on from here; others hold the same for others.")


def weights_of(folder: Path, adapter: Adapter) -> Path:
    """The file with an adapter's weights. Raises NotFound and ChecksumMismatch where it isn't what was saved."""
    path = folder / adapter.weights.path
    if not path.is_file():
        raise NotFound(f"{path}: missing. Copy the checkpoint again, or take another one.")
    if sha256_file(path) != adapter.weights.sha256:
        raise ChecksumMismatch(f"{path}: isn't what was saved. Copy the checkpoint again, or take another one.")
    return path


def combined(base: str, adapter: Adapter) -> str:
    """The digest of a base with this adapter on it."""
    return sha256_json([base, adapter.weights.sha256])
