"""Fused phrases: the longest runs of words that most captions share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.text.words import FUNCTION_WORDS, Words

MIN_CAPTIONS = 10  # in fewer captions, every phrase has a large share
MAX_WORDS = 64
MIN_SHARE_GAIN = 0.02  # a part of a longer phrase is listed too if its share is larger by this


@dataclass(frozen=True)
class Phrase:
    text: str
    rows: NDArray[np.int64]


def fused_phrases(words: Words, above: float, ignore: frozenset[str] = frozenset()) -> list[Phrase]:
    """Return the phrases in more than `above` (0 to 1) of the captions, most frequent first.

    Phrases grow word by word: one can be frequent only if both its parts are. `ignore`: words (the trigger's) that end
    a phrase.
    """
    captions = len(words.starts) - 1
    if captions < MIN_CAPTIONS:
        return []
    rows, least = words.rows, above * captions
    ignored = [index for index, word in enumerate(words.vocabulary.to_list()) if word in ignore]
    grams = np.where(np.isin(words.ids, ignored), -1, words.ids)
    phrases: list[Phrase] = []
    for length in range(1, MAX_WORDS + 1):
        grams, occurrences = _frequent(grams, rows, least)
        if not occurrences:
            break
        for start, gram_rows in occurrences.values():
            text = " ".join(words.vocabulary.gather(words.ids[start : start + length]).to_list())
            phrases.append(Phrase(text, gram_rows))
        grams = _longer(grams, words.ids, rows, length)
    return _longest(phrases, MIN_SHARE_GAIN * captions)


def _frequent(
    grams: NDArray[np.int64], rows: NDArray[np.int64], least: float
) -> tuple[NDArray[np.int64], dict[int, tuple[int, NDArray[np.int64]]]]:
    """Set infrequent grams to -1. Return also each frequent gram's first index and the rows of its captions."""
    indices = np.flatnonzero(grams >= 0)
    if not len(indices):
        return grams, {}
    often = np.bincount(grams[indices]) > least  # a cheap first filter: uses are at least as many as captions
    indices = indices[often[grams[indices]]]
    order = indices[np.argsort(grams[indices], kind="stable")]
    distinct, firsts = np.unique(grams[order], return_index=True)
    occurrences: dict[int, tuple[int, NDArray[np.int64]]] = {}
    for gram, uses in zip(distinct.tolist(), np.split(order, firsts[1:]), strict=len(distinct) > 0):
        gram_rows = np.unique(rows[uses])
        if len(gram_rows) > least:
            occurrences[gram] = (int(uses[0]), gram_rows)
    frequent = np.full_like(grams, -1)
    indices = indices[np.isin(grams[indices], list(occurrences))]
    frequent[indices] = grams[indices]
    return frequent, occurrences


def _longer(
    grams: NDArray[np.int64], ids: NDArray[np.int64], rows: NDArray[np.int64], length: int
) -> NDArray[np.int64]:
    """Extend grams by one word and renumber them, if this gram and the next are frequent and in the same caption."""
    longer = np.full_like(grams, -1)
    indices = np.flatnonzero((grams[:-length] >= 0) & (grams[1 : len(grams) - length + 1] >= 0))
    indices = indices[rows[indices] == rows[indices + length]]
    pairs = grams[indices] * (int(ids.max(initial=0)) + 1) + ids[indices + length]
    longer[indices] = np.unique(pairs, return_inverse=True)[1]
    return longer


def _longest(phrases: list[Phrase], min_gain: float) -> list[Phrase]:
    """Drop phrases of function words, and phrases within a longer one that has nearly as many captions."""
    candidates = [phrase for phrase in phrases if set(phrase.text.split()) - FUNCTION_WORDS]

    def covered(phrase: Phrase) -> bool:
        return any(
            f" {phrase.text} " in f" {other.text} " and len(phrase.rows) - len(other.rows) <= min_gain
            for other in candidates
            if other.text != phrase.text
        )

    longest = [phrase for phrase in candidates if not covered(phrase)]
    return sorted(longest, key=lambda phrase: (-len(phrase.rows), phrase.text))
