"""Find the batch size of a model: double it while throughput rises, halve it if memory runs out."""

from __future__ import annotations

FIRST = 8
LARGEST = 256
CALLS_A_SIZE = 2  # the faster of two counts, because the first call of a size allocates buffers and picks kernels
MIN_GAIN = 1.05  # a larger batch that is hardly faster costs memory, and loses more if the run is killed


class BatchSize:
    """The current `size`, updated by `timed` and `too_large`.

    A requested size stays as long as it fits. Else the size doubles from FIRST up to LARGEST while images a second rise
    by 5%, then the best one stays.
    """

    def __init__(self, requested: int | None) -> None:
        self.size = requested or FIRST
        self.settled = requested is not None
        self._rates: dict[int, list[float]] = {}
        self._fits_below: int | None = None

    def timed(self, count: int, seconds: float) -> None:
        """Record that a batch of `count` took `seconds`. Ignores short batches (the last one, or after failures)."""
        if self.settled or count != self.size:
            return
        rates = self._rates.setdefault(self.size, [])
        rates.append(count / max(seconds, 1e-9))
        if len(rates) < CALLS_A_SIZE:
            return
        smaller = self._rate(self.size // 2)
        if smaller and self._rate(self.size) < smaller * MIN_GAIN:
            self.size, self.settled = self.size // 2, True
        elif self._next() == self.size:
            self.settled = True
        else:
            self.size = self._next()

    def too_large(self) -> bool:
        """Halve the size for good. Return False if it is 1 already."""
        if self.size == 1:
            return False
        self._fits_below = self.size
        self.size //= 2
        self.settled = self.settled or self.size in self._rates
        return True

    def _rate(self, size: int) -> float:
        return max(self._rates.get(size, [0.0]))

    def _next(self) -> int:
        double = min(self.size * 2, LARGEST)
        return self.size if self._fits_below is not None and double >= self._fits_below else double
