"""The words that one set alone uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from curator.caption_sets.stats import Frequent
from curator.text.words import FUNCTION_WORDS, words

WORDS = 20


@dataclass(frozen=True)
class Vocabulary:
    """A set's different words, how many no other set has, and the most frequent of these, words of grammar aside."""

    words: int
    only_here: int
    examples: list[Frequent]


def vocabularies(captions: pl.DataFrame, labels: Sequence[str]) -> dict[str, Vocabulary]:
    """For each label, a column of captions: what words it has, letter case aside."""
    counted = [_counted(captions[label]).with_columns(label=pl.lit(label)) for label in labels]
    together = pl.concat(counted)
    alone = together.filter(pl.len().over("word") == 1)
    found = {}
    for label in labels:
        own = alone.filter(pl.col("label") == label).sort(["captions", "word"], descending=[True, False])
        telling = own.filter(~pl.col("word").is_in(list(FUNCTION_WORDS)))
        examples = [
            Frequent(text=word, count=count, share=having / captions.height)
            for word, count, having in telling.head(WORDS).select("word", "count", "captions").iter_rows()
        ]
        found[label] = Vocabulary(together.filter(pl.col("label") == label).height, own.height, examples)
    return found


def _counted(texts: pl.Series) -> pl.DataFrame:
    """word, count (uses), captions (that have it)."""

    found = words(texts)
    size = max(len(found.vocabulary), 1)
    in_captions = np.unique(found.rows * size + found.ids) % size
    counts = {
        "count": np.bincount(found.ids, minlength=size)[: len(found.vocabulary)],
        "captions": np.bincount(in_captions, minlength=size)[: len(found.vocabulary)],
    }
    return pl.DataFrame({"word": found.vocabulary, **counts})
