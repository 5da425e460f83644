"""Words that only one of the compared sets uses."""

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
    """A set's distinct words, those that no other set has, and the most frequent of these without function words."""

    words: int
    only_here: int
    examples: list[Frequent]


def vocabularies(captions: pl.DataFrame, labels: Sequence[str]) -> dict[str, Vocabulary]:
    all_words = pl.concat([_word_counts(captions[label]).with_columns(label=pl.lit(label)) for label in labels])
    unique = all_words.filter(pl.len().over("word") == 1)
    by_label = {}
    for label in labels:
        only_here = unique.filter(pl.col("label") == label).sort(["captions", "word"], descending=[True, False])
        content_words = only_here.filter(~pl.col("word").is_in(list(FUNCTION_WORDS)))
        examples = [
            Frequent(text=word, count=count, share=with_word / captions.height)
            for word, count, with_word in content_words.head(WORDS).select("word", "count", "captions").iter_rows()
        ]
        by_label[label] = Vocabulary(all_words.filter(pl.col("label") == label).height, only_here.height, examples)
    return by_label


def _word_counts(texts: pl.Series) -> pl.DataFrame:
    """Count words. Columns: word, count (uses), captions (with the word)."""
    split = words(texts)
    size = len(split.vocabulary)
    in_captions = np.unique(split.rows * max(size, 1) + split.ids) % max(size, 1)
    counts = {
        "count": np.bincount(split.ids, minlength=size),
        "captions": np.bincount(in_captions, minlength=size),
    }
    return pl.DataFrame({"word": split.vocabulary, **counts})
