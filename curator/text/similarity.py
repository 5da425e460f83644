"""Similarity of captions, over many pairs at once: token F1 and edit distance.

Token F1 is 2 x common words / words of both captions, counting repeats (SQuAD, Rajpurkar et al. 2016, but articles
count too). Edit distance is Levenshtein's, in characters.
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
    """Return the F1 of each pair, 0 to 1, float64. Case and punctuation don't count; two captions without words: 1."""
    left, right = _texts(first, second)
    pieces = [
        _f1_of_piece(left.slice(start, PAIRS_A_PIECE), right.slice(start, PAIRS_A_PIECE))
        for start in range(0, len(left), PAIRS_A_PIECE)
    ]
    return pl.concat(pieces) if pieces else pl.Series("token_f1", [], dtype=pl.Float64)


def edit_distance(first: Texts, second: Texts) -> pl.Series:
    """Return the characters to insert, delete or replace in each pair, int64."""
    left, right = _texts(first, second)
    distances = cpdist(left.to_list(), right.to_list(), scorer=Levenshtein.distance, dtype=np.int64, workers=-1)
    return pl.Series("edit_distance", distances, dtype=pl.Int64)


def edit_share(first: Texts, second: Texts) -> pl.Series:
    """Return edit distance / length of the longer caption, 0 (equal) to 1, float64. Two empty captions: 0."""
    left, right = _texts(first, second)
    distance = edit_distance(left, right)
    longer = pl.max_horizontal(pl.col("left").str.len_chars(), pl.col("right").str.len_chars(), 1)
    frame = pl.DataFrame({"left": left, "right": right, "distance": distance})
    return frame.select((pl.col("distance") / longer).alias("edit_share")).to_series()


def _texts(first: Texts, second: Texts) -> tuple[pl.Series, pl.Series]:
    left, right = pl.Series("left", first, dtype=pl.String), pl.Series("right", second, dtype=pl.String)
    if len(left) != len(right):
        raise ValueError(f"{len(left)} captions against {len(right)}: pairs need as many of both")
    return left, right


def _f1_of_piece(left: pl.Series, right: pl.Series) -> pl.Series:
    """Intersect the (pair, word) keys of both sides; a common word counts as often as in the side with fewer."""
    both = words(pl.concat([left, right.alias(left.name)]))
    pairs, middle, size = len(left), both.starts[len(left)], max(len(both.vocabulary), 1)
    keys = both.rows % pairs * size + both.ids
    left_keys, left_counts = np.unique(keys[:middle], return_counts=True)
    right_keys, right_counts = np.unique(keys[middle:], return_counts=True)
    shared, in_left, in_right = np.intersect1d(left_keys, right_keys, assume_unique=True, return_indices=True)
    common = np.bincount(shared // size, np.minimum(left_counts[in_left], right_counts[in_right]), minlength=pairs)
    lengths = np.diff(both.starts)
    total = lengths[:pairs] + lengths[pairs:]
    f1 = np.where(total > 0, 2 * common / np.maximum(total, 1), 1.0)
    return pl.Series("token_f1", f1, dtype=pl.Float64)
