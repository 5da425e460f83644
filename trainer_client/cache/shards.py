"""Tensors by key in safetensors shards, written once and verified when read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from schemas.document import write_atomically
from schemas.progress import Progress, silent
from trainer_client.cache.tensor_table import Table

Encoded = Generator[tuple[str, Tensor], None, None]  # To be closed where it isn't read to its end.


class Shelf:
    """A folder of shards with tensors by key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @torch.no_grad()
    def complete(
        self,
        keys: Sequence[str],
        encode: Callable[[Sequence[str]], Encoded],
        in_shard: int,
        stage: str,
        progress: Progress = silent,
    ) -> dict[str, Tensor]:
        """The tensor of every key: from the shards, the missing ones from `encode`, which are then kept."""
        found: dict[str, Tensor] = {}
        self._complete(found, keys, encode, in_shard, stage, progress)
        return found

    @torch.no_grad()
    def fill(
        self,
        keys: Sequence[str],
        encode: Callable[[Sequence[str]], Encoded],
        in_shard: int,
        stage: str,
        progress: Progress = silent,
    ) -> Table:
        """As `complete`, in the keys' order, all of one shape, and of any number: no shard stays in memory."""
        table = Table(keys, self.folder)
        self._complete(table, keys, encode, in_shard, stage, progress)
        return table

    def _complete(
        self,
        found: dict[str, Tensor] | Table,
        keys: Sequence[str],
        encode: Callable[[Sequence[str]], Encoded],
        in_shard: int,
        stage: str,
        progress: Progress,
    ) -> None:
        distinct = list(dict.fromkeys(keys))
        self.read(set(distinct), found)
        missing = [key for key in distinct if key not in found]
        if not missing:
            return
        # A disk takes its time to be sure, and the encoder needs this thread.
        with ThreadPoolExecutor(1) as writer, closing(encode(missing)) as encoded:
            writing: Future[None] | None = None
            shard: dict[str, Tensor] = {}
            for number, (key, tensor) in enumerate(encoded, start=1):
                shard[key] = tensor.clone(memory_format=torch.contiguous_format)  # its own bytes, not a batch's
                found[key] = shard[key]
                progress(stage, len(found), len(distinct))
                if len(shard) == in_shard or number == len(missing):
                    if writing is not None:
                        writing.result()
                    writing, shard = writer.submit(self.write, shard), {}
            if writing is not None:
                writing.result()

    def read(self, wanted: set[str], found: dict[str, Tensor] | Table) -> None:
        """Adds what there is of the wanted keys. Deletes damaged shards: what they held is made again."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if len(found) == len(wanted):
                break
            shard = read_shard(path)
            if shard is None:
                path.unlink(missing_ok=True)
                continue
            for key, tensor in shard.items():
                if key in wanted:
                    found[key] = tensor

    def write(self, shard: Mapping[str, Tensor]) -> None:
        """Adds a shard, named by its content."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = save(dict(shard))
        write_atomically(self.folder / f"{hashlib.sha256(content).hexdigest()}.safetensors", content)


def read_shard(path: Path) -> dict[str, Tensor] | None:
    """A shard's tensors, or None where its bytes aren't those it is named by."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != path.stem:
        return None
    try:
        tensors: dict[str, Tensor] = load(content)
    except SafetensorError:
        return None
    return tensors
