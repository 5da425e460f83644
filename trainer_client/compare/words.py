"""Figures as words: signs, intervals, durations, lists, in one manner everywhere on the page."""

from __future__ import annotations

import re
from collections.abc import Sequence

from schemas.comparison import Estimate

MINUS = "\N{MINUS SIGN}"
MINUTE, HOUR = 60, 3600


def loss(value: float, places: int = 4) -> str:
    """A loss or distance, with a true minus sign: 0.1284."""
    text = f"{value:.{places}f}"
    return text.replace("-", MINUS) if float(text) else text.removeprefix("-")


def signed(value: float, places: int = 4) -> str:
    """A change: +0.0120, −0.0034."""
    text = loss(value, places)
    return text if text.startswith(MINUS) or not float(text) else f"+{text}"


def interval(value: Estimate, places: int = 4) -> str:
    """A 95% interval in brackets: (−0.0051 to −0.0017)."""
    return f"({loss(value.low, places)} to {loss(value.high, places)})"


def duration(seconds: float) -> str:
    """Seconds as a person says them: 20 ms, 0.4 s, 12 s, 3 min 20 s, 2 h 5 min."""
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
    return f"{minutes // MINUTE} h {minutes % MINUTE} min" if minutes % MINUTE else f"{minutes // MINUTE} h"


def day(date: str) -> str:
    """2026-11-03 as 3 Nov 2026, in English wherever it is run."""
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])-\d{2}", date):
        return date
    year, month, number = date.split("-")
    names = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    return f"{int(number)} {names[int(month) - 1]} {year}"


def money(amount: float) -> str:
    """An amount in the currency the price was given in: small ones with as many places as they need."""
    return f"{amount:.2f}" if amount >= 0.1 or amount == 0 else f"{amount:.4f}"


def plural(number: int, noun: str, many: str | None = None) -> str:
    """1 image, 1,200 images; `many` where an s won't do."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {many or noun + 's'}"


def listed(items: Sequence[str], last: str = "and") -> str:
    """a, b and c."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def sentence(text: str) -> str:
    """With a capital at the start, the rest as it is."""
    return text[:1].upper() + text[1:]


def epochs_range(epochs: Sequence[int], open_ended: bool) -> str:
    """about 15 epochs; 15 to 30 epochs; 8 epochs or more."""
    if not epochs:
        return "no telling how long"
    low, high = min(epochs), max(epochs)
    span = plural(high, "epoch") if low == high else f"{low} to {plural(high, 'epoch')}"
    if open_ended:
        return f"{span} or more"
    return f"about {span}" if low == high else span
