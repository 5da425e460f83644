"""What failed is called again after the pauses it is given, and no longer."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from schemas.edge.retry import broke_off, retried


def failing(times: int) -> Iterator[int]:
    """Which call it is, or the error that all but the last raise."""
    for number in range(1, times + 1):
        yield -number
    yield times + 1


def call_of(calls: Iterator[int]) -> int:
    number = next(calls)
    if number < 0:
        raise ConnectionError(number)
    return number


def test_it_pauses_between_calls_until_one_succeeds() -> None:
    slept: list[float] = []
    calls = failing(2)
    assert retried(lambda: call_of(calls), lambda error: True, (0.1, 0.2, 0.4), slept.append) == 3
    assert slept == [0.1, 0.2]


def test_the_last_error_is_raised_when_no_pause_is_left() -> None:
    calls = failing(9)
    with pytest.raises(ConnectionError, match="-2"):
        retried(lambda: call_of(calls), lambda error: True, (0.0,))


def test_an_error_that_waiting_does_not_mend_is_raised_at_once() -> None:
    calls = failing(1)
    with pytest.raises(ConnectionError, match="-1"):
        retried(lambda: call_of(calls), lambda error: isinstance(error, ValueError), (0.0, 0.0))


def test_a_connection_that_was_never_made_does_not_count_as_broken() -> None:
    assert broke_off(httpx.ReadError("reset")) and broke_off(httpx.ReadTimeout("slow"))
    assert not broke_off(httpx.ConnectError("refused")) and not broke_off(ValueError("other"))
