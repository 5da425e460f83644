"""Numbers as a person reads them, in one wording everywhere: durations, sizes, shares, money, dates, counted nouns."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.comparison import Estimate

UNITS = ("bytes", "kB", "MB", "GB", "TB")  # powers of 1000
MINUTE, HOUR = 60, 3600
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
MINUS = "\N{MINUS SIGN}"


def duration(seconds: float) -> str:
    """Return seconds in words: `20 ms`, `4.5 s`, `45 s`, `3 min 20 s`, `2 h 5 min`."""
    if 0 < seconds < 0.095:
        return f"{seconds * 1000:.2g} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s" if whole % MINUTE else f"{whole // MINUTE} min"
    minutes = round(whole / MINUTE)
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def size(size_bytes: int) -> str:
    """Return bytes in words: `640 bytes`, `1.2 MB`, `33 GB`."""
    if size_bytes < 1000:
        return plural(size_bytes, "byte")
    power = min(4, (len(str(size_bytes)) - 1) // 3)
    value = size_bytes / 1000**power
    return f"{value:.0f} {UNITS[power]}" if value >= 10 else f"{value:.1f} {UNITS[power]}"


def percent(share: float, places: int = 0) -> str:
    """Return a share in percent: `73%`. A few of very many are `<1%`, nearly all are `>99%`."""
    text, least = f"{share:.{places}%}", 10.0**-places
    if share in (0, 1):
        return f"{share:.0%}"
    if float(text[:-1]) == 0:
        return f"<{least:.{places}f}%"
    return f">{100 - least:.{places}f}%" if float(text[:-1]) == 100 else text


def number(value: float) -> str:
    """Return a count, length or distance, with one decimal only if it is a fraction below 100: `1,234`, `4.5`."""
    return f"{value:,.0f}" if float(value).is_integer() or value >= 100 else f"{value:,.1f}"


def money(amount: float, currency: str = "") -> str:
    """Return an amount with two decimals, small ones with two significant digits: `12.50`, `$0.0042`."""
    places = 2 if amount >= 0.1 or amount <= 0 else 1 - math.floor(math.log10(amount))
    return f"{currency}{amount:,.{places}f}"


def plural(count: int, noun: str, many: str | None = None) -> str:
    """Return a counted noun: `1 caption`, `1,200 captions`; `many` if an s isn't its plural."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def day(date: str) -> str:
    """Return `2026-11-03` as `3 Nov 2026`, in English in every locale; other text unchanged."""
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])-\d{2}", date):
        return date
    year, month, number = date.split("-")
    return f"{int(number)} {MONTHS[int(month) - 1]} {year}"


def moment(stamp: str) -> str:
    """Return `2026-11-23T12:00:00Z` as `23 Nov 2026, 12:00`."""
    at = datetime.fromisoformat(stamp)
    return f"{day(at.date().isoformat())}, {at:%H:%M}"


def loss(value: float, places: int = 4) -> str:
    """Return a loss or distance, with a true minus sign: `0.1284`."""
    text = f"{value:.{places}f}"
    return text.replace("-", MINUS) if float(text) else text.removeprefix("-")


def signed(value: float, places: int = 4) -> str:
    """Return a change with its sign: `+0.0120`, `−0.0034`."""
    text = loss(value, places)
    return text if text.startswith(MINUS) or not float(text) else f"+{text}"


def interval(value: Estimate, places: int = 4) -> str:
    """Return a 95% interval in brackets: `(−0.0051 to −0.0017)`."""
    return f"({loss(value.low, places)} to {loss(value.high, places)})"


def listed(items: Sequence[str], last: str = "and") -> str:
    """Return `a, b and c`."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def sentence(text: str) -> str:
    """Return the text with a capital at the start, the rest unchanged."""
    return text[:1].upper() + text[1:]
