"""Runs every check over the captions of one state of a set: which captions (or values) each kind of finding holds for.

A check gives a `Seen`: what it is of, as keys that can be compared with a baseline's, and what to show of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import polars as pl

from curator.caption_sets.reference import Reference
from curator.catalog import Catalog
from curator.check.fused import fused_phrases
from curator.check.mentions import field_values, mentions
from curator.check.near import near_duplicates
from curator.text import printable as tests
from curator.text.tokens import TokenCounter
from curator.text.words import WORD, Words, words

PARTS = 12
IMAGES_A_PART = 3


@dataclass(frozen=True)
class SeenPart:
    """A repeated caption, a phrase or a value; how many captions (images) have it, and some of those images."""

    text: str
    captions: int
    share: float
    images: list[str]


@dataclass(frozen=True)
class Seen:
    """What a check saw. `keys`: image sha256s, or values of a field; `rows`: the captions to show, most telling first;
    `detail`: what to say of the caption in a row."""

    code: str
    subject: str | None
    keys: pl.Series
    of: int
    rows: pl.Series
    detail: Callable[[int], str | None] = lambda row: None
    parts: list[SeenPart] = field(default_factory=list)
    notice: str | None = None


@dataclass(frozen=True)
class Captions:
    """The captions of a set (image_sha256, text), and what was found out about them so far."""

    reference: Reference
    frame: pl.DataFrame

    @property
    def text(self) -> pl.Series:
        return self.frame["text"]

    @cached_property
    def words(self) -> Words:
        """Computed once: two checks need it."""
        return words(self.text)

    def seen(self, code: str, mask: pl.Series, subject: str | None = None) -> Seen:
        """The captions that `mask` holds for."""
        rows = mask.arg_true()
        return Seen(code, subject, self.frame["image_sha256"].gather(rows), self.frame.height, rows)


def simple(captions: Captions, trigger: str | None) -> list[Seen]:
    """What each caption shows by itself."""
    text = captions.text

    def shown(row: int) -> str:
        return tests.shown(str(text[row]))

    seen = [
        captions.seen("empty", tests.is_empty(text)),
        captions.seen("one-word", tests.is_one_word(text)),
        replace(captions.seen("broken-characters", tests.has_replaced(text)), detail=shown),
        replace(captions.seen("mojibake", tests.is_mojibake(text)), detail=lambda row: tests.repaired(text[row])),
        replace(captions.seen("control-characters", tests.has_invisible(text)), detail=shown),
        replace(captions.seen("newline", tests.has_line_break(text)), detail=shown),
    ]
    if trigger is not None:
        seen.append(captions.seen("trigger-missing", tests.lacks(text, trigger), trigger))
    return seen


def lost_words(captions: Captions, counter: TokenCounter) -> Seen:
    """Captions past the tokenizer's limit, the longest first, each with the words it loses."""
    counts = counter.count(captions.text)
    cut = counts > counter.limit if counter.limit else pl.Series([False]).new_from_index(0, len(counts))
    seen = captions.seen("lost-words", cut, counter.name)
    order = counts.gather(seen.rows).arg_sort(descending=True)

    def lost(row: int) -> str:
        return f"{counts[row]} tokens, loses: {counter.words_lost(captions.text[row])}"

    return replace(seen, detail=lost, rows=seen.rows.gather(order))


def fused(captions: Captions, above: float, trigger: str | None) -> Seen:
    """The phrases in more than `above` of the captions; the finding counts the captions that have the most common."""
    ignore = pl.Series([trigger or ""]).str.to_lowercase().str.extract_all(WORD)[0].to_list()
    phrases = fused_phrases(captions.words, above, frozenset(ignore))
    rows = pl.Series(phrases[0].rows if phrases else [], dtype=pl.UInt32)
    images, total = captions.frame["image_sha256"], max(captions.frame.height, 1)
    parts = [
        SeenPart(
            found.text, len(found.rows), len(found.rows) / total, images.gather(found.rows[:IMAGES_A_PART]).to_list()
        )
        for found in phrases[:PARTS]
    ]
    return Seen("fused-term", None, images.gather(rows), captions.frame.height, rows.head(0), parts=parts)


def duplicates(captions: Captions) -> Seen:
    """Captions that several images have; the empty one is another finding."""
    text = captions.text
    counted = (
        captions.frame.filter(~tests.is_empty(text))
        .group_by("text")
        .agg(pl.len().alias("captions"), pl.col("image_sha256").head(IMAGES_A_PART).alias("images"))
    )
    repeated = counted.filter(pl.col("captions") > 1).sort(["captions", "text"], descending=[True, False])
    total = max(len(text), 1)
    parts = [SeenPart(**row, share=row["captions"] / total) for row in repeated.head(PARTS).iter_rows(named=True)]
    seen = captions.seen("duplicate", text.is_in(repeated["text"].implode()))
    return replace(seen, rows=seen.rows.head(0), parts=parts)


def near(captions: Captions, threshold: float, fused_above: float) -> Seen:
    """Captions with nearly the words of another, each with that one."""
    text = captions.text
    numbers = text.rank("dense").cast(pl.Int64).to_numpy()
    found = near_duplicates(captions.words, numbers, threshold, fused_above)
    seen = captions.seen("near-duplicate", pl.Series(found.partner >= 0))
    notice = None
    if found.crowded:
        notice = (
            f"near-duplicate: {found.crowded:,} captions are too alike to compare each with all; there the count may "
            "be too low."
        )
    # Pairs rather than both halves of a pair: the caption whose partner was shown already isn't shown again.
    first = pl.Series([row for row in seen.rows.head(1000).to_list() if row < found.partner[row]], dtype=pl.UInt32)
    rows = pl.concat([first, seen.rows]).unique(maintain_order=True)
    return replace(seen, detail=lambda row: text[int(found.partner[row])], rows=rows, notice=notice)


def unmentioned(catalog: Catalog, captions: Captions, fields: Sequence[str]) -> list[Seen]:
    """For each field, its values that occur in no caption of any image that has them."""
    found = mentions(captions.frame, field_values(catalog, captions.reference.dataset, fields))
    by_value = found.group_by("field", "value", maintain_order=True).agg(
        pl.col("mentioned").any(),
        pl.len().alias("captions"),
        pl.col("image_sha256").head(IMAGES_A_PART).alias("images"),
    )
    seen = []
    for name in fields:
        values = by_value.filter(pl.col("field") == name)
        never = values.filter(~pl.col("mentioned")).sort(["captions", "value"], descending=[True, False])
        images = max(found.filter(pl.col("field") == name)["image_sha256"].n_unique(), 1)
        parts = [
            SeenPart(row["value"], row["captions"], row["captions"] / images, row["images"])
            for row in never.head(PARTS).iter_rows(named=True)
        ]
        none = pl.Series([], dtype=pl.UInt32)
        seen.append(Seen("unmentioned", name, never["value"], values.height, none, parts=parts))
    return seen
