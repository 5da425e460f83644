"""Checkpoints that `from_pretrained` loads, written atomically, with their lineage.

The safetensors headers hold the lineage (`__metadata__`), so a model file without its folder still names its training
data. Components that training does not change are hard links to epoch 0's.
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
        """Return the error for a path that can't be written."""
        reason = getattr(error, "strerror", None) or error
        return cls(f"{path}: can't be saved ({reason}). Free some space, then run the command again to resume.")


def checkpoint_name(epoch: int) -> str:
    """Return the checkpoint's folder relative to the run's; names sort by epoch."""
    return f"{FOLDER}/epoch-{epoch:03d}"


def save_checkpoint(method: Method, run_folder: Path, epoch: int, dtype: str, metadata: Mapping[str, str]) -> Path:
    """Save the method's weights as epoch `epoch`'s checkpoint, replace an older one, return its folder.

    `dtype` is `fp16` or `fp32`. Raises NotSaved.
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
    except (OSError, SafetensorError) as error:  # safetensors raises its own error if the disk is full.
        raise NotSaved.to(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _flush(folder: Path) -> None:
    """Flush every file to disk before the folder is renamed."""
    for path in (folder, *folder.rglob("*")):
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
