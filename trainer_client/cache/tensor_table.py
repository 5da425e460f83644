"""Tensors of one shape by key, in memory or in a memory-mapped file.

The file is unnamed, so the system frees it even after a kill. Shapes: N keys.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

MOST_OF_FREE_MEMORY = 0.5  # A larger table goes to a file.


class TensorTable:
    """A row for each key; keys may repeat."""

    def __init__(self, keys: Sequence[str], folder: Path) -> None:
        self.indices_by_key: dict[str, list[int]] = {}
        for index, key in enumerate(keys):
            self.indices_by_key.setdefault(key, []).append(index)
        self.folder, self.keys_set = folder, set[str]()
        self.rows_N: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of distinct keys that are set."""
        return len(self.keys_set)

    def __contains__(self, key: str) -> bool:
        return key in self.keys_set

    def __setitem__(self, key: str, row: Tensor) -> None:
        if self.rows_N is None:
            count = sum(map(len, self.indices_by_key.values()))
            self.rows_N = allocate((count, *row.shape), row.dtype, self.folder)
        for index in self.indices_by_key[key]:
            self.rows_N[index] = row
        self.keys_set.add(key)


def allocate(shape: Sequence[int], dtype: torch.dtype, folder: Path) -> Tensor:
    """Return an empty tensor, in a file in `folder` if it would take over half of the free memory.

    Raise OSError with the folder if the disk is too small: a write to a hole would kill the process later.
    """
    size = torch.Size(shape)
    free_bytes = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    size_bytes = size.numel() * dtype.itemsize
    if size_bytes <= MOST_OF_FREE_MEMORY * free_bytes:
        return torch.empty(size, dtype=dtype)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".table-") as file:
        if hasattr(os, "posix_fallocate") and size_bytes:
            try:
                os.posix_fallocate(file.fileno(), 0, size_bytes)
            except OSError as error:
                error.filename = str(folder)
                raise
        return torch.from_file(file.name, shared=True, size=size.numel(), dtype=dtype).view(size)
