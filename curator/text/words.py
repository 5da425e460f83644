"""Words of captions as integer ids, to count and compare them in bulk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

WORD = r"[\p{L}\p{N}]+(?:['’\-][\p{L}\p{N}]+)*"
# Words too common to distinguish captions.
FUNCTION_WORDS = {
    "a", "an", "and", "are", "as", "at", "by", "for", "from", "has", "have", "in", "into", "is", "it", "its",
    "of", "on", "or", "over", "that", "the", "their", "there", "this", "to", "under", "with", "un", "une", "le",
    "la", "les", "des", "du", "de", "et", "en", "dans", "avec", "sur", "der", "die", "das", "ein", "eine", "und",
    "mit", "auf", "im", "von", "el", "los", "las", "y", "con", "por",
}  # fmt: skip


@dataclass(frozen=True)
class Words:
    """Word ids of many captions: caption i has `ids[starts[i]:starts[i + 1]]`, in reading order."""

    ids: NDArray[np.int64]
    starts: NDArray[np.int64]
    vocabulary: pl.Series

    @property
    def rows(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


def words(texts: pl.Series) -> Words:
    """Split captions into lower-case words. `vocabulary[id]` is the word."""
    lists = texts.str.to_lowercase().str.extract_all(WORD)
    starts = np.concatenate([[0], lists.list.len().to_numpy().astype(np.int64).cumsum()])
    flat = lists.explode().drop_nulls()
    vocabulary = flat.unique(maintain_order=True)
    ids = flat.cast(pl.Enum(vocabulary)).to_physical()
    return Words(ids.to_numpy().astype(np.int64), starts, vocabulary)
