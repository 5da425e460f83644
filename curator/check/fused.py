"""Phrases that most captions share: runs of words with a document frequency above a share, the longest of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.text.words import FUNCTION_WORDS, Words

LEAST_CAPTIONS = 10  # of fewer, every phrase is in a large share
LONGEST = 64  # words
CLEARLY = 0.02  # a part of a phrase is shown beside it where it is in this much more of the captions


@dataclass(frozen=True)
class Phrase:
    """A phrase, and the captions (rows) that have it."""

    text: str
    rows: NDArray[np.int64]


def fused_phrases(words: Words, above: float, ignore: frozenset[str] = frozenset()) -> list[Phrase]:
    """The phrases in more than `above` (0 to 1) of the captions, most frequent first.

    Grown word by word: a phrase is frequent only if both its parts are, so only runs of frequent words are looked at.
    `ignore`: words (a trigger's) that no phrase may hold.
    """
    captions = len(words.starts) - 1
    if captions < LEAST_CAPTIONS:
        return []
    rows, least = words.rows, above * captions
    skipped = [number for number, word in enumerate(words.vocabulary.to_list()) if word in ignore]
    grams = np.where(np.isin(words.ids, skipped), -1, words.ids)
    phrases: list[Phrase] = []
    for length in range(1, LONGEST + 1):
        grams, found = _frequent(grams, rows, least)
        if not found:
            break
        texts = {gram: _text(words, int(place), length) for gram, (place, _) in found.items()}
        phrases += [Phrase(texts[gram], having) for gram, (_, having) in found.items()]
        grams = _longer(grams, words.ids, rows, length)
    return _longest(phrases, CLEARLY * captions)


def _frequent(
    grams: NDArray[np.int64], rows: NDArray[np.int64], least: float
) -> tuple[NDArray[np.int64], dict[int, tuple[int, NDArray[np.int64]]]]:
    """The grams (-1: none) with only frequent ones left, and each of those with its first place and its captions."""
    places = np.flatnonzero(grams >= 0)
    if not len(places):
        return grams, {}
    often = np.bincount(grams[places]) > least  # as often as its captions, or oftener: a first, cheap sieve
    places = places[often[grams[places]]]
    order = places[np.argsort(grams[places], kind="stable")]
    numbers, firsts = np.unique(grams[order], return_index=True)
    found: dict[int, tuple[int, NDArray[np.int64]]] = {}
    for gram, here in zip(numbers.tolist(), np.split(order, firsts[1:]), strict=len(numbers) > 0):
        having = np.unique(rows[here])
        if len(having) > least:
            found[gram] = (int(here[0]), having)
    left = np.full_like(grams, -1)
    kept = places[np.isin(grams[places], list(found))]
    left[kept] = grams[kept]
    return left, found


def _longer(
    grams: NDArray[np.int64], ids: NDArray[np.int64], rows: NDArray[np.int64], length: int
) -> NDArray[np.int64]:
    """Grams of one word more, renumbered: where this one and the next are frequent, in the same caption."""
    longer = np.full_like(grams, -1)
    places = np.flatnonzero((grams[:-length] >= 0) & (grams[1 : len(grams) - length + 1] >= 0))
    places = places[rows[places] == rows[places + length]]
    pairs = grams[places] * (int(ids.max(initial=0)) + 1) + ids[places + length]
    longer[places] = np.unique(pairs, return_inverse=True)[1]
    return longer


def _text(words: Words, place: int, length: int) -> str:
    return " ".join(words.vocabulary.gather(words.ids[place : place + length]).to_list())


def _longest(phrases: list[Phrase], clearly: float) -> list[Phrase]:
    """Phrases that say something, without those whose every use (nearly) is in a longer one."""
    telling = [phrase for phrase in phrases if set(phrase.text.split()) - FUNCTION_WORDS]

    def covered(phrase: Phrase) -> bool:
        return any(
            f" {phrase.text} " in f" {other.text} " and len(phrase.rows) - len(other.rows) <= clearly
            for other in telling
            if other.text != phrase.text
        )

    kept = [phrase for phrase in telling if not covered(phrase)]
    return sorted(kept, key=lambda phrase: (-len(phrase.rows), phrase.text))
