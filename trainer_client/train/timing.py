"""Where a run's seconds go, and how a person reads them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from schemas.run import Cost

PARTS = ("training", "sampling", "evaluating", "preparing")


class Clock:
    """Seconds of one thing that is done in laps, with pauses that don't count."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.start()

    def start(self) -> None:
        """Begins a lap now."""
        self._began = time.monotonic()

    def lap(self) -> float:
        """Ends the lap, adds it, begins the next; returns its seconds."""
        now = time.monotonic()
        lap, self._began = now - self._began, now
        self.seconds += lap
        return lap


class Ledger:
    """The run's seconds by part; `preparing` is loading, checking, encoding and saving.

    `doing` is the part that goes on, or at which an error ended the run.
    """

    def __init__(self, price_per_hour: float | None) -> None:
        self.price_per_hour = price_per_hour
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.doing = "training"

    @contextmanager
    def timed(self, part: str) -> Iterator[Clock]:
        """Books the time inside, also when it ends by an error."""
        clock, self.doing = Clock(), part
        try:
            yield clock
        finally:
            self.seconds[part] += clock.lap()
        self.doing = "training"

    def carry_over(self, *costs: Cost) -> None:
        """Adds what earlier sessions of the same run spent: of several records the fullest."""
        for part in PARTS:
            self.seconds[part] += max(getattr(cost, f"{part}_seconds") for cost in costs)

    def cost(self) -> Cost:
        """The report's form."""
        return Cost(
            **{f"{part}_seconds": seconds for part, seconds in self.seconds.items()}, price_per_hour=self.price_per_hour
        )

    def money(self, more_seconds: float = 0.0) -> float | None:
        """What the run has cost, with `more_seconds` on top; None without a price."""
        if self.price_per_hour is None:
            return None
        return self.price_per_hour * (sum(self.seconds.values()) + more_seconds) / 3600
