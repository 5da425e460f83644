"""Captions that say nearly the same: an exact set-similarity join that a million captions pass through in seconds.

Two captions are near-duplicates when their sets of words, without those fused to most captions, have a Jaccard
similarity (words in common / words of either) of at least a threshold. Then they differ in at most d words, for their
sizes. So spread the vocabulary over d + e parts: at least e parts hold no difference at all. Each caption gets a key
for each choice of e parts, only captions with an equal key are compared, and none that should be found is missed
(PartEnum: Arasu, Ganti, Kaushik, "Efficient exact set-similarity joins", VLDB 2006). e grows while keys are crowded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from curator.text.words import Words

WINDOW = 32  # of those with one key, each is compared with so many next ones; more is a crowd
MOST_EXTRA = 3  # e at most
PAIRS_A_PIECE = 200_000


@dataclass(frozen=True)
class Near:
    """`partner[i]`: the row of a caption like caption i, -1 for none. `crowded`: captions with too many of one key to
    compare all with all; among them some may be missed."""

    partner: NDArray[np.int64]
    crowded: int


@dataclass(frozen=True)
class _Sets:
    """Sets of words: set i has `ids[starts[i]:starts[i + 1]]`, sorted; `row` is a caption that has it."""

    ids: NDArray[np.int64]
    starts: NDArray[np.int64]
    row: NDArray[np.int64]

    @property
    def sizes(self) -> NDArray[np.int64]:
        return np.diff(self.starts)


def near_duplicates(words: Words, texts: NDArray[np.int64], threshold: float, fused_above: float) -> Near:
    """For each caption, one that is nearly the same but not the same text.

    `texts`: a number for each distinct text. `threshold`: Jaccard similarity, above 0 to 1. Words in more than
    `fused_above` of the captions don't count; captions with no other words have no near-duplicates.
    """
    captions = len(words.starts) - 1
    partner = np.full(captions, -1, dtype=np.int64)
    sets, set_of_row = _distinct_sets(words, fused_above)
    _same_words(partner, set_of_row, texts)
    near_set, crowded = _join(sets, threshold, _document_rank(sets))
    rows = np.flatnonzero(set_of_row >= 0)
    found = near_set[set_of_row[rows]]
    fresh = (partner[rows] < 0) & (found >= 0)
    partner[rows[fresh]] = sets.row[found[fresh]]
    return Near(partner, int(crowded[set_of_row[rows]].sum()))


def _distinct_sets(words: Words, fused_above: float) -> tuple[_Sets, NDArray[np.int64]]:
    """The distinct sets of words, and which one each caption has (-1: no word that counts)."""
    captions, size = len(words.starts) - 1, max(len(words.vocabulary), 1)
    keys = np.unique(words.rows * size + words.ids)
    frequency = np.bincount(keys % size, minlength=size)
    keys = keys[(frequency <= fused_above * captions)[keys % size]]
    rows, ids = keys // size, keys % size
    having, starts = np.unique(rows, return_index=True)
    set_of_row = np.full(captions, -1, dtype=np.int64)
    if not len(having):
        return _Sets(ids, np.zeros(1, dtype=np.int64), having), set_of_row
    digests = np.add.reduceat(_mixed(ids), starts)
    _, first, which = np.unique(digests, return_index=True, return_inverse=True)
    set_of_row[having] = which
    lengths = np.diff(np.append(starts, len(ids)))[first]
    return _Sets(ids[_places(starts[first], lengths)], np.append(0, lengths.cumsum()), having[first]), set_of_row


def _same_words(partner: NDArray[np.int64], set_of_row: NDArray[np.int64], texts: NDArray[np.int64]) -> None:
    """Captions of the same words in another order, case or punctuation: each gets one of another text."""
    rows = np.flatnonzero(set_of_row >= 0)
    order = rows[np.lexsort((texts[rows], set_of_row[rows]))]
    group, text = set_of_row[order], texts[order]
    if not len(order):
        return
    begins = np.flatnonzero(np.append(True, group[1:] != group[:-1]))
    last = np.append(begins[1:], len(order)) - 1
    which = np.repeat(np.arange(len(begins)), np.diff(np.append(begins, len(order))))
    other = np.where(text != text[begins][which], begins[which], last[which])  # sorted by text: first and last differ
    differs = text[other] != text
    partner[order[differs]] = order[other[differs]]


def _document_rank(sets: _Sets) -> NDArray[np.int64]:
    """The rank of each word by frequency: dealing ranks out in turn spreads frequent words over all parts."""
    frequency = np.bincount(sets.ids)
    rank = np.empty(len(frequency), dtype=np.int64)
    rank[np.argsort(-frequency, kind="stable")] = np.arange(len(frequency))
    return rank


def _join(sets: _Sets, threshold: float, rank: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """A set like each set, -1 for none, and which sets stood in a crowd."""
    sizes = sets.sizes
    found = np.full(len(sizes), -1, dtype=np.int64)
    crowded = np.zeros(len(sizes), dtype=np.bool_)
    for low, high in _size_classes(int(sizes.max(initial=0)), threshold):
        most = int(2 * high * (1 - threshold) / (1 + threshold) + 1e-9)
        smallest = int(np.ceil(low * threshold - 1e-9))
        chosen = np.flatnonzero((sizes >= smallest) & (sizes <= high))
        if most == 0 or len(chosen) < 2 or not (sizes[chosen] >= low).any():
            continue
        for keys in _keys(sets, chosen, rank, most):
            crowded[chosen[_in_a_crowd(keys)]] = True
            for one, other in _candidates(keys, found[chosen] >= 0):
                _verify(sets, chosen[one], chosen[other], threshold, found)
    return found, crowded


def _size_classes(largest: int, threshold: float) -> Iterator[tuple[int, int]]:
    """Ranges of sizes; the larger set of a pair is in the range, the smaller in it or the one before."""
    low = 1
    while low <= largest:
        high = int(low / threshold + 1e-9)
        yield low, high
        low = high + 1


def _keys(sets: _Sets, chosen: NDArray[np.int64], rank: NDArray[np.int64], most: int) -> list[NDArray[np.uint64]]:
    """Keys such that sets which differ in at most `most` words share one: with as few choices as leave no crowd."""
    keys: list[NDArray[np.uint64]] = []
    for extra in range(1, MOST_EXTRA + 1):
        parts = _part_digests(sets, chosen, rank, most + extra)
        keys = [
            sum((parts[part] * _salt(part) for part in choice[1:]), parts[choice[0]] * _salt(choice[0]))
            for choice in combinations(range(most + extra), extra)
        ]
        if not any(_in_a_crowd(key).any() for key in keys):
            break
    return keys


def _part_digests(
    sets: _Sets, chosen: NDArray[np.int64], rank: NDArray[np.int64], parts: int
) -> list[NDArray[np.uint64]]:
    """For each part of the vocabulary, a digest of the words that each chosen set has there."""
    lengths = sets.sizes[chosen]
    ids = sets.ids[_places(sets.starts[chosen], lengths)]
    mixed, part = _mixed(ids), rank[ids] % parts
    begins = lengths.cumsum() - lengths
    return [np.add.reduceat(np.where(part == number, mixed, np.uint64(0)), begins) for number in range(parts)]


def _in_a_crowd(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which have a key that more than WINDOW others have."""
    _, which, counts = np.unique(keys, return_inverse=True, return_counts=True)
    crowded: NDArray[np.bool_] = (counts > WINDOW + 1)[which]
    return crowded


def _candidates(
    keys: NDArray[np.uint64], done: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs with an equal key of which one isn't done, each with the next WINDOW in turn."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    for step in range(1, min(WINDOW, len(order) - 1) + 1):
        same = np.flatnonzero(ordered[step:] == ordered[:-step])
        if not len(same):
            return
        one, other = order[same], order[same + step]
        open_ = ~(done[one] & done[other])
        one, other = one[open_], other[open_]
        for at in range(0, len(one), PAIRS_A_PIECE):
            yield one[at : at + PAIRS_A_PIECE], other[at : at + PAIRS_A_PIECE]


def _verify(
    sets: _Sets,
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    threshold: float,
    found: NDArray[np.int64],
) -> None:
    """Computes the similarity of pairs, and notes those that reach the threshold in `found`."""
    sizes = sets.sizes
    possible = np.minimum(sizes[one], sizes[other]) >= threshold * np.maximum(sizes[one], sizes[other]) - 1e-9
    possible &= (found[one] < 0) | (found[other] < 0)
    one, other = one[possible], other[possible]
    if not len(one):
        return
    keys = np.concatenate([_pair_keys(sets, one), _pair_keys(sets, other)])
    keys.sort(kind="stable")
    twice = keys[1:][keys[1:] == keys[:-1]]
    common = np.bincount(twice // (int(sets.ids.max()) + 1), minlength=len(one))
    alike = common >= threshold * (sizes[one] + sizes[other] - common) - 1e-9
    one, other = one[alike], other[alike]
    found[one] = np.where(found[one] < 0, other, found[one])
    found[other] = np.where(found[other] < 0, one, found[other])


def _pair_keys(sets: _Sets, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """pair number x vocabulary + word, for every word of the chosen sets."""
    lengths = sets.sizes[chosen]
    pairs = np.repeat(np.arange(len(chosen)), lengths)
    keys: NDArray[np.int64] = pairs * (int(sets.ids.max()) + 1) + sets.ids[_places(sets.starts[chosen], lengths)]
    return keys


def _places(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Stretches of places, one after another: of each its start and length."""
    ends = lengths.cumsum()
    places: NDArray[np.int64] = np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)
    return places


def _salt(part: int) -> np.uint64:
    return np.uint64((2 * part + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF | 1)


def _mixed(ids: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The SplitMix64 finaliser (Steele, Lea, Flood 2014): sums of it are digests of sets."""
    with np.errstate(over="ignore"):
        state = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))
