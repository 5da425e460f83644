"""Embeddings on disk, by content: what was computed once for a picture or a caption isn't computed again.

A folder a model holds part files, each with the keys (sha256 of what was embedded) and the vectors. A part is written
under a temporary name and renamed, so that an interrupted run keeps its finished parts and two can write side by side.
A damaged part is deleted and made again; `rm -r` of the cache is always safe.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from schemas.document import write_atomically


class Vectors:
    """The kept vectors of one model and kind (pictures, captions)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def known(self, keys: Iterable[str]) -> dict[str, NDArray[np.float16]]:
        """The vectors there are of `keys`."""
        wanted = set(keys)
        found: dict[str, NDArray[np.float16]] = {}
        for part in sorted(self.folder.glob("*.npz")):
            found |= {key: vector for key, vector in self._read(part) if key in wanted}
        return found

    def add(self, keys: list[str], vectors_ND: NDArray[np.float16]) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, keys=np.array(keys, dtype="S64"), vectors_ND=vectors_ND)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / f"{sha256(''.join(keys).encode()).hexdigest()}.npz", buffer.getvalue())

    def _read(self, part: Path) -> list[tuple[str, NDArray[np.float16]]]:
        try:
            with np.load(part, allow_pickle=False) as arrays:
                keys = [key.decode() for key in arrays["keys"]]
                return list(zip(keys, arrays["vectors_ND"], strict=True))
        except (OSError, ValueError, KeyError, BadZipFile):
            part.unlink(missing_ok=True)
            return []
