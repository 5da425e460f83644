"""Numbers as a person reads them: durations, sizes, counted nouns."""

from __future__ import annotations

UNITS = ("bytes", "KB", "MB", "GB", "TB")


def duration(seconds: float) -> str:
    """Seconds for a person: `20 ms`, `4.5 s`, `45 s`, `3 min 20 s`, `2 h 05 min`."""
    if 0 < seconds < 0.095:
        return f"{seconds * 1000:.2g} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(size_bytes: int) -> str:
    """Bytes for a person: `640 bytes`, `1.2 MB`, `33 GB`."""
    if size_bytes < 1000:
        return plural(size_bytes, "byte")
    power = min(4, (len(str(size_bytes)) - 1) // 3)
    value = size_bytes / 1000**power
    return f"{value:.0f} {UNITS[power]}" if value >= 10 else f"{value:.1f} {UNITS[power]}"


def plural(count: int, noun: str) -> str:
    """1 caption, 2 captions."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
