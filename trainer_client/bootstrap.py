"""Means with 95% percentile bootstrap intervals (Efron 1979), images resampled with one fixed seed.

The seed is fixed and the resamples depend on the number of images alone: the same images are drawn for every run,
track and checkpoint, so that differences stay paired and a page made twice says the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from schemas.comparison import Estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLES = 2000
SEED = 20_250_101
LEAST = 5  # with fewer images no interval means anything: nothing is called clear


def estimate(values: Sequence[float] | NDArray[np.float64]) -> Estimate | None:
    """Mean of `values` (N,) and the 2.5 and 97.5 percentiles of its resampled means; None without values."""
    values_n = np.asarray(values, dtype=np.float64)
    if values_n.size == 0:
        return None
    low, high = np.percentile(_resampled(values_n), [2.5, 97.5])
    return Estimate(mean=float(values_n.mean()), low=float(low), high=float(high), count=values_n.size)


def change(after: Sequence[float], before: Sequence[float]) -> Estimate | None:
    """Mean of the paired differences after minus before."""
    return estimate(np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64))


def difference(first: Sequence[float] | NDArray[np.float64], other: NDArray[np.float64]) -> Estimate | None:
    """Difference of two means over unlike images, each resampled by itself; `count` is the smaller of the two."""
    first_n, other_m = np.asarray(first, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if first_n.size == 0 or other_m.size == 0:
        return None
    low, high = np.percentile(_resampled(first_n) - _resampled(other_m, stream=1), [2.5, 97.5])
    mean = float(first_n.mean() - other_m.mean())
    return Estimate(mean=mean, low=float(low), high=float(high), count=min(first_n.size, other_m.size))


def below_zero(value: Estimate | None) -> bool:
    """Clearly below zero: the interval lies below, and there are images enough to say so."""
    return value is not None and value.count >= LEAST and value.high < 0


def above_zero(value: Estimate | None) -> bool:
    """Clearly above zero."""
    return value is not None and value.count >= LEAST and value.low > 0


def _resampled(values_n: NDArray[np.float64], stream: int = 0) -> NDArray[np.float64]:
    """Means (RESAMPLES,) of the values under the fixed resamples of their number."""
    return _weights(values_n.size, stream) @ values_n


@lru_cache(maxsize=8)
def _weights(count: int, stream: int) -> NDArray[np.float64]:
    """How often each of `count` images falls in each resample, as shares: (RESAMPLES, count)."""
    generator = np.random.default_rng([SEED, stream, count])
    draws = generator.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return np.asarray(draws / count, dtype=np.float64)
