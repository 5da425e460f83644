"""Tests of one caption: empty, one word, broken or invisible characters, mojibake, trigger word."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

REPLACED = r"[\x{FFFD}\x{FFFE}\x{FFFF}]"
# Cc without line breaks; Cf without the joiners that scripts and emoji need (U+200C, U+200D) and emoji tags.
INVISIBLE = r"[\p{Cc}\p{Cf}&&[^\n\r\x{85}\x{200C}\x{200D}\x{E0020}-\x{E007F}]]"
JOINERS = "\u200c\u200d"
SENTENCE_WITHOUT_BLANKS = (
    r"[\p{Han}\p{Hiragana}\p{Katakana}]{6,}|[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]{16,}"  # words are mostly shorter
)
LINE_BREAK = r"[\n\r\x{85}\x{2028}\x{2029}]"
# A lead byte of UTF-8 (C2 to F4) and a continuation byte (80 to BF), both read as Windows-1252.
SUSPECT = "[\u00c2-\u00f4][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"


def is_empty(text: pl.Series) -> pl.Series:
    return text.str.strip_chars() == ""


def is_one_word(text: pl.Series) -> pl.Series:
    """Return which captions are one word. Long text in a script without blanks (Chinese, Thai) doesn't count as one."""
    return (text.str.count_matches(r"\S+") == 1) & ~text.str.contains(SENTENCE_WITHOUT_BLANKS)


def has_replaced(text: pl.Series) -> pl.Series:
    """Return which captions have U+FFFD, the mark of bytes that weren't UTF-8, or a noncharacter."""
    return text.str.contains(REPLACED)


def has_invisible(text: pl.Series) -> pl.Series:
    """Return which captions have control characters (tabs too), zero-width blanks, direction or byte-order marks."""
    return text.str.contains(INVISIBLE)


def has_line_break(text: pl.Series) -> pl.Series:
    return text.str.contains(LINE_BREAK)


def is_mojibake(text: pl.Series) -> pl.Series:
    """Return which captions are UTF-8 decoded as Windows-1252. A pattern selects candidates; decoding confirms them."""
    import polars as pl

    suspect = text.str.contains(SUSPECT)
    confirmed = [repaired(caption) is not None for caption in text.filter(suspect).to_list()]
    rows = suspect.arg_true().gather(pl.Series(confirmed, dtype=pl.Boolean).arg_true())
    return pl.Series(range(len(text)), dtype=pl.UInt32).is_in(rows.implode())


def repaired(caption: str) -> str | None:
    """Return a caption with its mojibake decoded correctly, run by run; None if it has none."""
    text = re.sub(f"(?:{SUSPECT}+)+", lambda run: _decode_again(run[0]), caption)
    return text if text != caption else None


def lacks(text: pl.Series, phrase: str) -> pl.Series:
    edge = r"[^\p{L}\p{N}]"
    return ~text.str.contains(f"(?i)(?:^|{edge}){re.escape(phrase)}(?:{edge}|$)")


def shown(caption: str) -> str:
    """Escape unprintable characters (\\n, \\u200b), so that a caption can't control the terminal."""
    return "".join(
        letter if letter.isprintable() or letter in JOINERS else letter.encode("unicode_escape").decode()
        for letter in caption
    )


def _decode_again(piece: str) -> str:
    """Encode as Windows-1252 (Latin-1 for the five bytes it lacks) and decode as UTF-8; unchanged if that fails."""
    data = bytearray()
    try:
        for letter in piece:
            data += letter.encode("latin-1" if "\x80" <= letter <= "\x9f" else "cp1252")
        return data.decode("utf-8")
    except UnicodeError:
        return piece
