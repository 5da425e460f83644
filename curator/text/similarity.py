"""How alike two captions are: token F1 and edit distance, the one definition of each, over many pairs at once.

Token F1 is the harmonic mean of precision and recall over the two captions' words, each as often as it occurs (the
measure of SQuAD, Rajpurkar et al. 2016, without its dropping of articles): 2 x words in common / words of both. Edit
distance is Levenshtein's, in characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cpdist

from curator.text.words import words

PAIRS_A_PIECE = 100_000
Texts = Sequence[str] | Any  # or a polars Series of strings


def token_f1(first: Texts, second: Texts) -> pl.Series:
    """F1 of each pair, 0 to 1, letter case and punctuation aside; two captions without a word are alike: 1. float64."""
    left, right = _texts(first, second)
    pieces = [
        _f1_of_piece(left.slice(at, PAIRS_A_PIECE), right.slice(at, PAIRS_A_PIECE))
        for at in range(0, len(left), PAIRS_A_PIECE)
    ]
    return pl.concat(pieces) if pieces else pl.Series("token_f1", [], dtype=pl.Float64)


def edit_distance(first: Texts, second: Texts) -> pl.Series:
    """Characters to insert, delete or replace to make one caption the other, pair by pair. int64."""

    left, right = _texts(first, second)
    found = cpdist(left.to_list(), right.to_list(), scorer=Levenshtein.distance, dtype=np.int64, workers=-1)
    return pl.Series("edit_distance", found, dtype=pl.Int64)


def edit_share(first: Texts, second: Texts) -> pl.Series:
    """Edit distance in parts of the longer caption, 0 (equal) to 1 (nothing kept); two empty ones: 0. float64."""
    left, right = _texts(first, second)
    distance = edit_distance(left, right)
    longer = pl.max_horizontal(pl.col("left").str.len_chars(), pl.col("right").str.len_chars(), 1)
    frame = pl.DataFrame({"left": left, "right": right, "distance": distance})
    return frame.select((pl.col("distance") / longer).alias("edit_share")).to_series()


def _texts(first: Texts, second: Texts) -> tuple[pl.Series, pl.Series]:
    """Both as columns of text. Raises ValueError unless they are as long as each other."""
    left, right = pl.Series("left", first, dtype=pl.String), pl.Series("right", second, dtype=pl.String)
    if len(left) != len(right):
        raise ValueError(f"{len(left)} captions against {len(right)}: pairs need as many of both")
    return left, right


def _f1_of_piece(left: pl.Series, right: pl.Series) -> pl.Series:
    """Words are sorted by (pair, word) on both sides; what both sides have of a word is the lesser of its counts."""

    both = words(pl.concat([left, right.alias(left.name)]))
    pairs, middle, size = len(left), both.starts[len(left)], max(len(both.vocabulary), 1)
    keys = both.rows % pairs * size + both.ids
    one, ones = np.unique(keys[:middle], return_counts=True)
    other, others = np.unique(keys[middle:], return_counts=True)
    shared, here, there = np.intersect1d(one, other, assume_unique=True, return_indices=True)
    common = np.bincount(shared // size, np.minimum(ones[here], others[there]), minlength=pairs)
    lengths = np.diff(both.starts)
    total = lengths[:pairs] + lengths[pairs:]
    f1 = np.where(total > 0, 2 * common / np.maximum(total, 1), 1.0)
    return pl.Series("token_f1", f1, dtype=pl.Float64)
