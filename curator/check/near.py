"""Near-duplicate captions by an exact set-similarity join, seconds for a million captions.

Two captions are near-duplicates if their word sets, without words fused to most captions, have a Jaccard similarity
(common words / words of either) of at least a threshold. Given their sizes, they then differ in at most d words. Spread
the vocabulary over d + e parts: at least e parts hold no difference. Each caption gets a key for each choice of e
parts, and only captions with an equal key are compared; none is missed. e grows while keys are crowded. (PartEnum:
Arasu, Ganti, Kaushik, "Efficient exact set-similarity joins", VLDB 2006.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from curator.text.words import Words

WINDOW = 32  # each caption is compared with the next 32 of its key; a larger group is a crowd
MAX_EXTRA_PARTS = 3  # the largest e
PAIRS_A_PIECE = 200_000


@dataclass(frozen=True)
class Near:
    """Near-duplicates. `partner[i]`: the row of a caption like caption i, or -1; `crowded`: the number of captions
    whose keys are too common to compare all pairs, so that some may be missed."""

    partner: NDArray[np.int64]
    crowded: int


@dataclass(frozen=True)
class _Sets:
    """Word sets: set i has `ids[starts[i]:starts[i + 1]]`, sorted; `row[i]` is one of its captions."""

    ids: NDArray[np.int64]
    starts: NDArray[np.int64]
    row: NDArray[np.int64]

    @property
    def sizes(self) -> NDArray[np.int64]:
        return np.diff(self.starts)


def near_duplicates(words: Words, texts: NDArray[np.int64], threshold: float, fused_above: float) -> Near:
    """Return a near-duplicate of each caption that isn't the same text.

    `texts`: an id for each distinct text. `threshold`: Jaccard similarity, above 0 to 1. Words in more than
    `fused_above` of the captions don't count.
    """
    captions = len(words.starts) - 1
    partner = np.full(captions, -1, dtype=np.int64)
    sets, set_of_row = _distinct_sets(words, fused_above)
    _same_words(partner, set_of_row, texts)
    near_set, crowded = _join(sets, threshold, _document_rank(sets))
    rows = np.flatnonzero(set_of_row >= 0)
    near_set_of_row = near_set[set_of_row[rows]]
    new = (partner[rows] < 0) & (near_set_of_row >= 0)
    partner[rows[new]] = sets.row[near_set_of_row[new]]
    return Near(partner, int(crowded[set_of_row[rows]].sum()))


def _distinct_sets(words: Words, fused_above: float) -> tuple[_Sets, NDArray[np.int64]]:
    """Return the distinct word sets, and the set index of each caption (-1: no word that counts)."""
    captions, size = len(words.starts) - 1, max(len(words.vocabulary), 1)
    keys = np.unique(words.rows * size + words.ids)
    frequency = np.bincount(keys % size, minlength=size)
    keys = keys[(frequency <= fused_above * captions)[keys % size]]
    rows, ids = keys // size, keys % size
    caption_rows, starts = np.unique(rows, return_index=True)
    set_of_row = np.full(captions, -1, dtype=np.int64)
    if not len(caption_rows):
        return _Sets(ids, np.zeros(1, dtype=np.int64), caption_rows), set_of_row
    digests = np.add.reduceat(_mixed(ids), starts)
    _, first, set_indices = np.unique(digests, return_index=True, return_inverse=True)
    set_of_row[caption_rows] = set_indices
    lengths = np.diff(np.append(starts, len(ids)))[first]
    flat = ids[_indices(starts[first], lengths)]
    return _Sets(flat, np.append(0, lengths.cumsum()), caption_rows[first]), set_of_row


def _same_words(partner: NDArray[np.int64], set_of_row: NDArray[np.int64], texts: NDArray[np.int64]) -> None:
    rows = np.flatnonzero(set_of_row >= 0)
    order = rows[np.lexsort((texts[rows], set_of_row[rows]))]
    group, text = set_of_row[order], texts[order]
    if not len(order):
        return
    begins = np.flatnonzero(np.append(True, group[1:] != group[:-1]))
    last = np.append(begins[1:], len(order)) - 1
    which = np.repeat(np.arange(len(begins)), np.diff(np.append(begins, len(order))))
    # Texts are sorted within a group, so a text that differs is its first or its last.
    other = np.where(text != text[begins][which], begins[which], last[which])
    differs = text[other] != text
    partner[order[differs]] = order[other[differs]]


def _document_rank(sets: _Sets) -> NDArray[np.int64]:
    """Return each word's rank by frequency; rank modulo parts spreads frequent words evenly."""
    frequency = np.bincount(sets.ids)
    rank = np.empty(len(frequency), dtype=np.int64)
    rank[np.argsort(-frequency, kind="stable")] = np.arange(len(frequency))
    return rank


def _join(sets: _Sets, threshold: float, rank: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return a similar set for each set (-1: none), and which sets are crowded."""
    sizes = sets.sizes
    partner = np.full(len(sizes), -1, dtype=np.int64)
    crowded = np.zeros(len(sizes), dtype=np.bool_)
    for low, high in _size_classes(int(sizes.max(initial=0)), threshold):
        most = int(2 * high * (1 - threshold) / (1 + threshold) + 1e-9)
        smallest = int(np.ceil(low * threshold - 1e-9))
        chosen = np.flatnonzero((sizes >= smallest) & (sizes <= high))
        if most == 0 or len(chosen) < 2 or not (sizes[chosen] >= low).any():
            continue
        for keys in _keys(sets, chosen, rank, most):
            crowded[chosen[_in_a_crowd(keys)]] = True
            for left, right in _candidates(keys, partner[chosen] >= 0):
                _verify(sets, chosen[left], chosen[right], threshold, partner)
    return partner, crowded


def _size_classes(largest: int, threshold: float) -> Iterator[tuple[int, int]]:
    """Yield ranges of sizes. The larger set of a pair is in one range, the smaller in the same or the previous one."""
    low = 1
    while low <= largest:
        high = int(low / threshold + 1e-9)
        yield low, high
        low = high + 1


def _keys(sets: _Sets, chosen: NDArray[np.int64], rank: NDArray[np.int64], most: int) -> list[NDArray[np.uint64]]:
    """Return keys of which sets that differ in at most `most` words share one; stop at the first e without crowds."""
    keys: list[NDArray[np.uint64]] = []
    for extra in range(1, MAX_EXTRA_PARTS + 1):
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
    """Return for each part of the vocabulary a digest of each chosen set's words in it."""
    lengths = sets.sizes[chosen]
    ids = sets.ids[_indices(sets.starts[chosen], lengths)]
    mixed, part = _mixed(ids), rank[ids] % parts
    begins = lengths.cumsum() - lengths
    return [np.add.reduceat(np.where(part == number, mixed, np.uint64(0)), begins) for number in range(parts)]


def _in_a_crowd(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    _, key_index, counts = np.unique(keys, return_inverse=True, return_counts=True)
    crowded: NDArray[np.bool_] = (counts > WINDOW + 1)[key_index]
    return crowded


def _candidates(
    keys: NDArray[np.uint64], done: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield pairs with an equal key, at least one not done; each set pairs with the next WINDOW sets of its key."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    for step in range(1, min(WINDOW, len(order) - 1) + 1):
        same = np.flatnonzero(ordered[step:] == ordered[:-step])
        if not len(same):
            return
        left, right = order[same], order[same + step]
        pending = ~(done[left] & done[right])
        left, right = left[pending], right[pending]
        for start in range(0, len(left), PAIRS_A_PIECE):
            yield left[start : start + PAIRS_A_PIECE], right[start : start + PAIRS_A_PIECE]


def _verify(
    sets: _Sets,
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    threshold: float,
    partner: NDArray[np.int64],
) -> None:
    sizes = sets.sizes
    possible = np.minimum(sizes[left], sizes[right]) >= threshold * np.maximum(sizes[left], sizes[right]) - 1e-9
    possible &= (partner[left] < 0) | (partner[right] < 0)
    left, right = left[possible], right[possible]
    if not len(left):
        return
    keys = np.concatenate([_pair_keys(sets, left), _pair_keys(sets, right)])
    keys.sort(kind="stable")
    twice = keys[1:][keys[1:] == keys[:-1]]
    common = np.bincount(twice // (int(sets.ids.max()) + 1), minlength=len(left))
    alike = common >= threshold * (sizes[left] + sizes[right] - common) - 1e-9
    left, right = left[alike], right[alike]
    partner[left] = np.where(partner[left] < 0, right, partner[left])
    partner[right] = np.where(partner[right] < 0, left, partner[right])


def _pair_keys(sets: _Sets, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return pair index x vocabulary size + word id for every word of the chosen sets."""
    lengths = sets.sizes[chosen]
    pairs = np.repeat(np.arange(len(chosen)), lengths)
    keys: NDArray[np.int64] = pairs * (int(sets.ids.max()) + 1) + sets.ids[_indices(sets.starts[chosen], lengths)]
    return keys


def _indices(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    ends = lengths.cumsum()
    indices: NDArray[np.int64] = np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)
    return indices


def _salt(part: int) -> np.uint64:
    return np.uint64((2 * part + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF | 1)


def _mixed(ids: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Apply the SplitMix64 finaliser (Steele, Lea, Flood 2014); its sums are digests of sets."""
    with np.errstate(over="ignore"):
        state = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))
