"""Group images that are almost the same: each joins the nearest representative, or becomes one.

Two images are near if their perceptual hashes differ in at most DISTANCE_BITS of 64 bits (why 2: see phash.py). An
image is compared with *representatives* only, in the order in which images were first seen, and groups never change:
chains of small steps don't grow into one group, and adding images moves nothing.

Search by bands: hashes within d bits agree on at least one of d + 1 parts of their bits, so candidates share a part.
The parts take every third bit, so that smooth images, whose high bits are all 0, don't share one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

DISTANCE_BITS = 2
PAIRS_AT_ONCE = 4_000_000  # bounds memory: about 200 MB


def group(
    representatives: NDArray[np.uint64], pictures: NDArray[np.uint64], distance_bits: int = DISTANCE_BITS
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Assign each of `pictures` (hashes, in the order first seen) to a group.

    Return the position of each image's representative in `representatives` followed by `pictures`, and its distance.
    The nearest representative counts, then the earliest.
    """
    hashes, first_seen, which = _distinct(np.concatenate([representatives, pictures]).astype(np.uint64))
    known = int((first_seen < len(representatives)).sum())
    nearest = np.arange(len(hashes), dtype=np.int64)
    distance = np.zeros(len(hashes), dtype=np.uint8)
    joined = np.zeros(len(hashes), dtype=bool)
    for later, earlier, bits in _near_pairs(hashes, known, distance_bits):
        # Pairs come by `later`, then distance, then age: the first that is a representative is the one.
        for one, other, apart in zip(later.tolist(), earlier.tolist(), bits.tolist(), strict=True):
            if not joined[one] and not joined[other]:
                joined[one] = True
                nearest[one], distance[one] = other, apart
    new = which[len(representatives) :]
    return first_seen[nearest[new]], distance[new]


def _distinct(
    hashes: NDArray[np.uint64],
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """Return distinct hashes in the order first seen, their first positions, and the index of each input among them."""
    values, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return values[order], first[order].astype(np.int64), rank[inverse]


def _near_pairs(
    hashes: NDArray[np.uint64], known: int, distance_bits: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]]:
    """Yield (later, earlier, distance) of pairs within the distance whose later one isn't among the first `known`.

    Blocks are sorted by later, distance, earlier; a pair may occur more than once.
    """
    bands = [_Band(hashes, part, distance_bits + 1) for part in range(distance_bits + 1)]
    counts = np.sum([band.right - band.left for band in bands], axis=0)[known:]
    for start, stop in _slices(counts):
        later, earlier = (
            np.concatenate(parts)
            for parts in zip(*(band.pairs(known + start, known + stop) for band in bands), strict=True)
        )
        before = earlier < later
        later, earlier = later[before], earlier[before]
        bits = np.bitwise_count(hashes[later] ^ hashes[earlier])
        near = bits <= distance_bits
        later, earlier, bits = later[near], earlier[near], bits[near]
        order = np.lexsort((earlier, bits, later))
        yield later[order], earlier[order], bits[order]


def _slices(counts: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield consecutive ranges of queries, each with about PAIRS_AT_ONCE candidates."""
    sums = np.concatenate([[0], np.cumsum(counts)])
    start = 0
    while start < len(counts):
        stop = int(np.searchsorted(sums, sums[start] + PAIRS_AT_ONCE, side="right")) - 1
        stop = min(max(stop, start + 1), len(counts))
        yield start, stop
        start = stop


class _Band:
    """One part of the bits of all hashes, sorted, and for each hash the range of those that share its part."""

    def __init__(self, hashes: NDArray[np.uint64], part: int, parts: int) -> None:
        mask = np.uint64(sum(1 << bit for bit in range(64) if bit % parts == part))
        keys = hashes & mask
        self.order = np.argsort(keys, kind="stable")
        in_order = keys[self.order]
        self.left = np.searchsorted(in_order, keys, side="left")
        self.right = np.searchsorted(in_order, keys, side="right")

    def pairs(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return all (query, candidate) pairs of the queries from `start` to `stop`."""
        left, counts = self.left[start:stop], (self.right - self.left)[start:stop]
        query = np.repeat(np.arange(start, stop), counts)
        within = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
        return query, self.order[np.repeat(left, counts) + within]
