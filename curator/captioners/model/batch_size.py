"""How many pictures a machine writes at once: doubled while that makes it faster, halved when they don't fit."""

from __future__ import annotations

FIRST = 8
LARGEST = 256
CALLS_A_SIZE = 2  # the first call of a size pays for its buffers and kernels: the better of two counts
WORTH_IT = 1.05  # a larger batch that is hardly faster only costs memory, and more at a kill


class BatchSize:
    """The size to use now, and the search for it: `size`, told of each batch by `timed` and `too_large`.

    With `asked` that size is kept as long as it fits. Without, sizes double from FIRST while pictures a second rise by
    5%, at most to LARGEST; then the best one stays.
    """

    def __init__(self, asked: int | None) -> None:
        """`asked` None: find it."""
        self.size = asked or FIRST
        self.settled = asked is not None
        self._rates: dict[int, list[float]] = {}
        self._fits_below: int | None = None

    def timed(self, count: int, seconds: float) -> None:
        """A batch of `count` took the machine `seconds`. Short batches (the last, after failures) tell nothing."""
        if self.settled or count != self.size:
            return
        rates = self._rates.setdefault(self.size, [])
        rates.append(count / max(seconds, 1e-9))
        if len(rates) < CALLS_A_SIZE:
            return
        smaller = self._rate(self.size // 2)
        if smaller and self._rate(self.size) < smaller * WORTH_IT:
            self.size, self.settled = self.size // 2, True
        elif self._next() == self.size:
            self.settled = True
        else:
            self.size = self._next()

    def too_large(self) -> bool:
        """The batch didn't fit: halves the size for good. False where it is 1 already."""
        if self.size == 1:
            return False
        self._fits_below = self.size
        self.size //= 2
        self.settled = self.settled or self.size in self._rates
        return True

    def _rate(self, size: int) -> float:
        """Pictures a second at a size, 0 where it wasn't tried."""
        return max(self._rates.get(size, [0.0]))

    def _next(self) -> int:
        """Twice the size, where that is allowed and not known to be too large."""
        double = min(self.size * 2, LARGEST)
        return self.size if self._fits_below is not None and double >= self._fits_below else double
