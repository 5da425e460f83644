"""What can be told of one caption by itself: empty, one word, broken or invisible characters, no trigger word."""

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
    """One word between blanks; but not where a script that has no blanks says more than a word's worth."""
    return (text.str.count_matches(r"\S+") == 1) & ~text.str.contains(SENTENCE_WITHOUT_BLANKS)


def has_replaced(text: pl.Series) -> pl.Series:
    """U+FFFD, which a reader puts where bytes weren't UTF-8, or a code point that is no character."""
    return text.str.contains(REPLACED)


def has_invisible(text: pl.Series) -> pl.Series:
    """Control characters (the tab too), zero-width blanks, marks of direction, byte-order marks."""
    return text.str.contains(INVISIBLE)


def has_line_break(text: pl.Series) -> pl.Series:
    """Any of Unicode's."""
    return text.str.contains(LINE_BREAK)


def is_mojibake(text: pl.Series) -> pl.Series:
    """UTF-8 that was read as Windows-1252: looked for by pattern, then proved by reading it back."""
    import polars as pl

    suspect = text.str.contains(SUSPECT)
    proved = [repaired(caption) is not None for caption in text.filter(suspect).to_list()]
    rows = suspect.arg_true().gather(pl.Series(proved, dtype=pl.Boolean).arg_true())
    return pl.Series(range(len(text)), dtype=pl.UInt32).is_in(rows.implode())


def repaired(caption: str) -> str | None:
    """What a wrongly decoded caption should read; None where it was read well. Each run of it by itself."""
    mended = re.sub(f"(?:{SUSPECT}+)+", lambda found: _read_back(found[0]), caption)
    return mended if mended != caption else None


def lacks(text: pl.Series, phrase: str) -> pl.Series:
    """Captions without the phrase as whole words, letter case aside."""
    edge = r"[^\p{L}\p{N}]"
    return ~text.str.contains(f"(?i)(?:^|{edge}){re.escape(phrase)}(?:{edge}|$)")


def shown(caption: str) -> str:
    """A caption with what can't be seen written out: \\n, \\u200b; so it can't play tricks on a terminal either."""
    return "".join(
        letter if letter.isprintable() or letter in JOINERS else letter.encode("unicode_escape").decode()
        for letter in caption
    )


def _read_back(piece: str) -> str:
    """Windows-1252, and Latin-1 for the five bytes it leaves open."""
    data = bytearray()
    for letter in piece:
        try:
            data += letter.encode("cp1252")
        except UnicodeEncodeError:
            if ord(letter) > 255:
                return piece
            data.append(ord(letter))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return piece
