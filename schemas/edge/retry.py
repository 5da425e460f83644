"""Call again what failed, after a pause, if that may help."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def retried(
    call: Callable[[], T],
    may_help: Callable[[Exception], bool],
    pauses: Iterable[float],
    sleep: Callable[[float], object] = time.sleep,
) -> T:
    """Return `call()`. After an error that `may_help` accepts, sleep the next of `pauses`, in seconds, and call again.

    Raises the last error when no pause is left, and any other error at once.
    """
    left = iter(pauses)
    while True:
        try:
            return call()
        except Exception as error:
            seconds = next(left, None) if may_help(error) else None
            if seconds is None:
                raise
        sleep(seconds)


def broke_off(error: Exception) -> bool:
    """Return whether an HTTP connection was made and then broke, so that asking again may help."""
    import httpx

    return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
