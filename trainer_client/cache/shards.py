"""Tensors by key in safetensors shards, written once and verified when read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from schemas.document import write_atomically
from schemas.progress import Progress, silent
from trainer_client.cache.tensor_table import TensorTable

Encoded = Generator[tuple[str, Tensor], None, None]  # Close it if it isn't read to its end.
Tensors = TypeVar("Tensors", dict[str, Tensor], TensorTable)


class ShardCache:
    """A folder of shards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @torch.no_grad()
    def complete(
        self,
        tensors: Tensors,
        keys: Sequence[str],
        encode: Callable[[Sequence[str]], Encoded],
        shard_size: int,
        stage: str,
        progress: Progress = silent,
    ) -> Tensors:
        """Set and return the tensor of every key: read from shards, or encoded and then written.

        With a `TensorTable` no shard stays in memory.
        """
        distinct = list(dict.fromkeys(keys))
        self.read(set(distinct), tensors)
        missing = [key for key in distinct if key not in tensors]
        if not missing:
            return tensors
        # Shards are written in another thread: fsync is slow, and this thread feeds the encoder.
        with ThreadPoolExecutor(1) as writer, closing(encode(missing)) as encoded:
            writing: Future[None] | None = None
            shard: dict[str, Tensor] = {}
            for number, (key, tensor) in enumerate(encoded, start=1):
                shard[key] = tensor.clone(
                    memory_format=torch.contiguous_format
                )  # its own memory, not a view of the batch
                tensors[key] = shard[key]
                progress(stage, len(tensors), len(distinct))
                if len(shard) == shard_size or number == len(missing):
                    if writing is not None:
                        writing.result()
                    writing, shard = writer.submit(self.write, shard), {}
            if writing is not None:
                writing.result()
        return tensors

    def read(self, wanted: set[str], tensors: dict[str, Tensor] | TensorTable) -> None:
        """Add cached tensors of wanted keys; delete damaged shards."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if len(tensors) == len(wanted):
                break
            shard = read_shard(path)
            if shard is None:
                path.unlink(missing_ok=True)
                continue
            for key in shard.keys() & wanted:
                tensors[key] = shard[key]

    def write(self, shard: Mapping[str, Tensor]) -> None:
        """Write a shard, named by its SHA-256."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = save(dict(shard))
        write_atomically(self.folder / f"{hashlib.sha256(content).hexdigest()}.safetensors", content)


def read_shard(path: Path) -> dict[str, Tensor] | None:
    """Return the tensors, or None if the bytes don't match the name."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != path.stem:
        return None
    try:
        tensors: dict[str, Tensor] = load(content)
    except SafetensorError:
        return None
    return tensors
