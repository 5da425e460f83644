"""The search for a batch size, on machines of known speed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from curator.captioners.model.batch_size import FIRST, LARGEST, BatchSize


def found(seconds: Callable[[int], float], fits: int = 10**6, batches: int = 40) -> BatchSize:
    """What the search settles on where a batch of n takes seconds(n)."""
    size = BatchSize(None)
    for _ in range(batches):
        while size.size > fits:
            assert size.too_large()
        size.timed(size.size, seconds(size.size))
    return size


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        (lambda n: 1.0 * n, FIRST),  # a slow processor: a larger batch isn't faster
        (lambda n: 1.0, LARGEST),  # bound by launches: as many as allowed
        (lambda n: max(1.0, n / 64), 64),  # saturated at 64
        (lambda n: n / 8 if n <= 32 else n, 8),
    ],
)
def test_it_grows_while_that_is_faster(seconds: Callable[[int], float], best: int) -> None:
    size = found(seconds)
    assert (size.size, size.settled) == (best, True)


@pytest.mark.parametrize(("fits", "best"), [(100, 64), (64, 64), (8, 8), (5, 4), (1, 1)])
def test_it_stays_with_what_fits(fits: int, best: int) -> None:
    size = found(lambda n: 1.0, fits)
    assert (size.size, size.settled) == (best, True)


def test_the_first_call_of_a_size_may_be_slow() -> None:
    size = BatchSize(None)
    seen: set[int] = set()
    for _ in range(40):
        slow = size.size not in seen
        seen.add(size.size)
        size.timed(size.size, 100.0 if slow else 1.0)
    assert size.size == LARGEST


def test_a_size_asked_for_is_kept_unless_it_does_not_fit() -> None:
    size = BatchSize(3)
    size.timed(3, 1.0)
    size.timed(3, 1.0)
    assert size.size == 3
    assert size.too_large()
    assert size.size == 1
    assert not size.too_large()


def test_short_batches_tell_nothing() -> None:
    size = BatchSize(None)
    for _ in range(10):
        size.timed(3, 1e-6)
    assert (size.size, size.settled) == (FIRST, False)
