"""Near-duplicate groups: what the fast way gives is what comparing everything gives."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from curator.ingest import near_duplicates
from curator.ingest.near_duplicates import group

NONE = np.array([], dtype=np.uint64)


def by_comparing_all(
    representatives: NDArray[np.uint64], pictures: NDArray[np.uint64], bits: int
) -> list[tuple[int, int]]:
    """The definition: nearest representative within the distance, the earliest of equals; else a new one."""
    known = [(int(value), place) for place, value in enumerate(representatives)]
    out = []
    for offset, value in enumerate(pictures):
        near = sorted(((int(value) ^ other).bit_count(), place) for other, place in known)
        if near and near[0][0] <= bits:
            out.append((near[0][1], near[0][0]))
        else:
            known.append((int(value), len(representatives) + offset))
            out.append((len(representatives) + offset, 0))
    return out


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("bits", [0, 2, 5])
def test_equals_comparing_all(seed: int, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "PAIRS_AT_ONCE", 37)  # many small blocks
    random = np.random.default_rng(seed)
    spread = np.uint64(0x0001_0040_1001_0401)
    hashes = random.integers(0, 1 << int(random.integers(3, 9)), size=90, dtype=np.uint64) * spread
    known = hashes[: seed % 3 * 20]
    places, _ = group(NONE, known, bits)
    representatives = known[np.unique(places)]
    pictures = hashes[len(known) :]
    places, distances = group(representatives, pictures, bits)
    expected = by_comparing_all(representatives, pictures, bits)
    assert list(zip(places.tolist(), distances.tolist(), strict=True)) == expected


def test_chains_dont_grow() -> None:
    chain = np.array([0b0, 0b11, 0b1111, 0b111111], dtype=np.uint64)  # each two bits from the last
    places, distances = group(NONE, chain)
    assert places.tolist() == [0, 0, 2, 2]
    assert distances.tolist() == [0, 2, 0, 2]


def test_nothing_new_is_nothing() -> None:
    places, distances = group(np.array([1, 2], dtype=np.uint64), NONE)
    assert len(places) == len(distances) == 0


def test_the_same_hash_many_times_is_one_group() -> None:
    places, distances = group(NONE, np.zeros(50_000, dtype=np.uint64))
    assert not places.any() and not distances.any()
