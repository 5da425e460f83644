"""Checkpoints: models that `from_pretrained` loads, written whole or not at all, each knowing where it comes from.

The weights' safetensors headers carry the lineage as text (the format's `__metadata__`), so that a model file that
left its folder still says what it was trained on. Components that training doesn't touch are hard links to epoch 0's.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError

from schemas.errors import AmatlError
from trainer_client.methods import Method

FOLDER = "checkpoints"


class NotSaved(AmatlError):
    """A checkpoint couldn't be written."""

    @classmethod
    def to(cls, path: Path | str, error: Exception) -> Self:
        """Says what couldn't be written and why."""
        reason = getattr(error, "strerror", None) or error
        return cls(f"{path}: can't be saved ({reason}). Free some space, then run it again: it goes on from there.")


def checkpoint_name(epoch: int) -> str:
    """The folder of an epoch's checkpoint, relative to the run's; names sort by epoch."""
    return f"{FOLDER}/epoch-{epoch:03d}"


def save_checkpoint(method: Method, run_folder: Path, epoch: int, dtype: str, metadata: Mapping[str, str]) -> Path:
    """Saves the method's present weights as epoch `epoch`'s checkpoint, replacing an older one; returns its folder.

    Written to a temporary neighbour that is renamed at the end. `dtype` is `fp16` or `fp32`. Raises NotSaved.
    """

    folder, first = run_folder / checkpoint_name(epoch), run_folder / checkpoint_name(0)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        method.save(
            temporary,
            {"fp16": torch.float16, "fp32": torch.float32}[dtype],
            metadata,
            first if epoch and first.is_dir() else None,
        )
        _flush(temporary)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except (OSError, SafetensorError) as error:  # Of a full disk the weights' writer raises its own.
        raise NotSaved.to(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _flush(folder: Path) -> None:
    """Has every file on the disk before the folder's name says so, whatever happens to the power."""
    for path in (folder, *folder.rglob("*")):
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
