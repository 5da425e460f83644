"""One wording for numbers, wherever a person reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from schemas.comparison import Estimate
from schemas.edge.words import day, duration, interval, listed, moment, money, number, percent, plural, signed, size

CASES: list[tuple[Callable[[Any], str], list[tuple[Any, str]]]] = [
    (duration, [(0.04, "40 ms"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min"), (90, "1 min 30 s")]),
    (duration, [(200, "3 min 20 s"), (185, "3 min 5 s"), (7200, "2 h"), (7500, "2 h 5 min"), (7190, "2 h")]),
    (size, [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (5_120, "5.1 kB")]),
    (size, [(48_000_000, "48 MB"), (1_234_567, "1.2 MB"), (2 * 10**12, "2.0 TB")]),
    (percent, [(0, "0%"), (0.001, "<1%"), (0.734, "73%"), (0.996, ">99%"), (1, "100%")]),
    (lambda share: percent(share, 1), [(0, "0%"), (0.0004, "<0.1%"), (0.25, "25.0%"), (0.9996, ">99.9%"), (1, "100%")]),
    (number, [(3, "3"), (3.25, "3.2"), (1234.5, "1,234"), (1_234_567, "1,234,567"), (4.0, "4")]),
    (money, [(0, "0.00"), (0.5, "0.50"), (1234.5, "1,234.50"), (0.0042, "0.0042"), (0.00012, "0.00012")]),
    (day, [("2026-11-03", "3 Nov 2026"), ("yesterday", "yesterday")]),
    (moment, [("2026-11-03T12:05:09Z", "3 Nov 2026, 12:05")]),
    (signed, [(0.012, "+0.0120"), (-0.0034, "−0.0034"), (-0.00001, "0.0000")]),
    (listed, [([], ""), (["a"], "a"), (["a", "b", "c"], "a, b and c")]),
]


@pytest.mark.parametrize(("write", "value", "text"), [(write, *pair) for write, pairs in CASES for pair in pairs])
def test_a_number_reads_the_same_everywhere(write: Callable[[Any], str], value: Any, text: str) -> None:
    assert write(value) == text


def test_amounts_and_nouns_with_their_extras() -> None:
    assert money(0.25, "$") == "$0.25"
    assert [plural(count, "caption") for count in (0, 1, 1200)] == ["0 captions", "1 caption", "1,200 captions"]
    assert plural(2, "strategy", "strategies") == "2 strategies"
    assert interval(Estimate(mean=-0.003, low=-0.0051, high=-0.0017, count=9)) == "(−0.0051 to −0.0017)"
