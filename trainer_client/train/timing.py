"""The seconds of a run by part."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from schemas.run import Cost

PARTS = ("training", "sampling", "evaluating", "preparing")


class Clock:
    """A stopwatch with laps; pauses between laps do not count."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.start()

    def start(self) -> None:
        self._began = time.monotonic()

    def lap(self) -> float:
        """End the lap, start the next, return the lap's seconds."""
        now = time.monotonic()
        lap, self._began = now - self._began, now
        self.seconds += lap
        return lap


class Ledger:
    """Seconds by part; `preparing` is loading, checking, encoding and saving.

    `doing` is the current part, or the one that failed.
    """

    def __init__(self, price_per_hour: float | None) -> None:
        self.price_per_hour = price_per_hour
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.doing = "training"

    @contextmanager
    def timed(self, part: str) -> Iterator[Clock]:
        """Record the time of the block, also if it raises."""
        clock, self.doing = Clock(), part
        try:
            yield clock
        finally:
            self.seconds[part] += clock.lap()
        self.doing = "training"

    def carry_over(self, *costs: Cost) -> None:
        """Add the cost of earlier sessions: the largest of several records."""
        for part in PARTS:
            self.seconds[part] += max(getattr(cost, f"{part}_seconds") for cost in costs)

    def cost(self) -> Cost:
        return Cost(
            **{f"{part}_seconds": seconds for part, seconds in self.seconds.items()}, price_per_hour=self.price_per_hour
        )

    def money(self, more_seconds: float = 0.0) -> float | None:
        """Return the cost so far plus `more_seconds`; None without a price."""
        if self.price_per_hour is None:
            return None
        return self.price_per_hour * (sum(self.seconds.values()) + more_seconds) / 3600
