"""Means with 95% bootstrap intervals (Efron 1979, widened for few images).

The seed is fixed and resamples depend only on the number of images: runs, tracks and checkpoints use the same
resamples, so differences stay paired and results are reproducible.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from schemas.comparison import Estimate

RESAMPLES = 2000
SEED = 20_250_101
MANY = 1000  # above this the correction for few images is negligible
LEAST = 5  # with fewer images nothing counts as clear


def estimate(values: Sequence[float] | NDArray[np.float64], comparisons: int = 1) -> Estimate | None:
    """Return the mean of `values` (N,) with its 95% interval; None without values.

    `comparisons`: intervals hold jointly at 95% (Bonferroni).
    """
    values_n = np.asarray(values, dtype=np.float64)
    if values_n.size == 0:
        return None
    low, high = _interval(_resampled(values_n), values_n.size, comparisons)
    return Estimate(mean=float(values_n.mean()), low=low, high=high, count=values_n.size)


def change(after: Sequence[float], before: Sequence[float], comparisons: int = 1) -> Estimate | None:
    """Return the mean of the paired differences after minus before."""
    return estimate(np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64), comparisons)


def difference(first: Sequence[float] | NDArray[np.float64], other: NDArray[np.float64]) -> Estimate | None:
    """Return the difference of two means over different images, resampled independently; `count` is the smaller one."""
    first_n, other_m = np.asarray(first, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if first_n.size == 0 or other_m.size == 0:
        return None
    count = min(first_n.size, other_m.size)
    low, high = _interval(_resampled(first_n) - _resampled(other_m, stream=1), count)
    return Estimate(mean=float(first_n.mean() - other_m.mean()), low=low, high=high, count=count)


def below_zero(value: Estimate | None) -> bool:
    """Return whether the interval is below zero, with at least LEAST images."""
    return value is not None and value.count >= LEAST and value.high < 0


def above_zero(value: Estimate | None) -> bool:
    """Return whether the interval is above zero, with at least LEAST images."""
    return value is not None and value.count >= LEAST and value.low > 0


def _interval(means_R: NDArray[np.float64], count: int, comparisons: int = 1) -> tuple[float, float]:
    share = _tail(count, comparisons)
    low, high = np.quantile(means_R, [share, 1 - share])
    return float(low), float(high)


@lru_cache(maxsize=256)
def _tail(count: int, comparisons: int) -> float:
    """Return the quantile cut off at each end.

    With few images the bootstrap is too narrow; a smaller quantile corrects it (expanded percentile interval,
    Hesterberg 2015). Without it, "95%" held 84% of the time for 5 images and 90% for 10; with it, 92% and 95%.
    """
    share = 0.025 / comparisons
    if not 2 <= count <= MANY:
        return share
    freedom = count - 1
    angles = np.linspace(-math.pi / 2, math.pi / 2, 200_001)  # Student's t = sqrt(freedom) * tan(angle).
    below = np.cumsum(np.cos(angles) ** (freedom - 1))
    angle = float(np.interp(1 - share, below / below[-1], angles))
    return NormalDist().cdf(-math.sqrt(freedom) * math.tan(angle) * math.sqrt(count / freedom))


def _resampled(values_n: NDArray[np.float64], stream: int = 0) -> NDArray[np.float64]:
    """Return the means (RESAMPLES,) under the fixed resamples."""
    return _weights(values_n.size, stream) @ values_n


@lru_cache(maxsize=8)
def _weights(count: int, stream: int) -> NDArray[np.float64]:
    """Return each image's share in each resample: (RESAMPLES, count)."""
    generator = np.random.default_rng([SEED, stream, count])
    draws = generator.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return np.asarray(draws / count, dtype=np.float64)
