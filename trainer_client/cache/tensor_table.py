"""Tensors of one shape in the order of their keys: in memory, or where they are too many for it in a mapped file.

The file has no name once it is open: the system frees it when the process ends, however it ends. What is read of it
often stays in the system's page cache.

Shapes: N keys.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

MOST_OF_FREE_MEMORY = 0.5  # What a table may take before it goes to a file.


class Table:
    """Rows are set by key; a key may stand in several places."""

    def __init__(self, keys: Sequence[str], folder: Path) -> None:
        self.places: dict[str, list[int]] = {}
        for place, key in enumerate(keys):
            self.places.setdefault(key, []).append(place)
        self.folder, self.set = folder, set[str]()
        self.rows_N: Tensor | None = None

    def __len__(self) -> int:
        """How many keys are set."""
        return len(self.set)

    def __contains__(self, key: str) -> bool:
        return key in self.set

    def __setitem__(self, key: str, row: Tensor) -> None:
        if self.rows_N is None:
            count = sum(map(len, self.places.values()))
            self.rows_N = roomy((count, *row.shape), row.dtype, self.folder)
        for place in self.places[key]:
            self.rows_N[place] = row
        self.set.add(key)


def roomy(shape: Sequence[int], dtype: torch.dtype, folder: Path) -> Tensor:
    """An empty tensor: in memory, or in a file of `folder` where it would take most of what is free.

    Raises OSError naming the folder where its disk hasn't the room: found out later, it would end the process.
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
