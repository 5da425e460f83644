"""One function per check, from the captions of a set to a `Detection`."""

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
class DetectionPart:
    """A repeated caption, phrase or value, with the number of its captions (images) and some of the images."""

    text: str
    captions: int
    share: float
    images: list[str]


@dataclass(frozen=True)
class Detection:
    """The faults that one check detected.

    `keys`: image sha256s or field values, comparable with a baseline's; `rows`: captions to show, best example first;
    `detail`: the note on the caption of a row.
    """

    code: str
    subject: str | None
    keys: pl.Series
    of: int
    rows: pl.Series
    detail: Callable[[int], str | None] = lambda row: None
    parts: list[DetectionPart] = field(default_factory=list)
    notice: str | None = None


@dataclass(frozen=True)
class Captions:
    reference: Reference
    frame: pl.DataFrame

    @property
    def text(self) -> pl.Series:
        return self.frame["text"]

    @cached_property
    def words(self) -> Words:
        """Computed once for two checks."""
        return words(self.text)

    def detect(self, code: str, mask: pl.Series, subject: str | None = None) -> Detection:
        rows = mask.arg_true()
        return Detection(code, subject, self.frame["image_sha256"].gather(rows), self.frame.height, rows)


def per_caption(captions: Captions, trigger: str | None) -> list[Detection]:
    text, detect = captions.text, captions.detect

    def escaped(row: int) -> str:
        return tests.shown(str(text[row]))

    detections = [
        detect("empty", tests.is_empty(text)),
        detect("one-word", tests.is_one_word(text)),
        replace(detect("broken-characters", tests.has_replaced(text)), detail=escaped),
        replace(detect("mojibake", tests.is_mojibake(text)), detail=lambda row: tests.repaired(text[row])),
        replace(detect("control-characters", tests.has_invisible(text)), detail=escaped),
        replace(detect("newline", tests.has_line_break(text)), detail=escaped),
    ]
    if trigger is not None:
        detections.append(detect("trigger-missing", tests.lacks(text, trigger), trigger))
    return detections


def lost_words(captions: Captions, counter: TokenCounter) -> Detection:
    """Detect captions past the tokenizer's limit, longest first, each with its lost words."""
    counts = counter.count(captions.text)
    cut = counts > counter.limit if counter.limit else pl.Series([False]).new_from_index(0, len(counts))
    detection = captions.detect("lost-words", cut, counter.name)
    order = counts.gather(detection.rows).arg_sort(descending=True)

    def lost(row: int) -> str:
        return f"{counts[row]} tokens, loses: {counter.words_lost(captions.text[row])}"

    return replace(detection, detail=lost, rows=detection.rows.gather(order))


def fused(captions: Captions, above: float, trigger: str | None) -> Detection:
    """Detect phrases in more than `above` of the captions; count the captions with the most common one."""
    ignore = pl.Series([trigger or ""]).str.to_lowercase().str.extract_all(WORD)[0].to_list()
    phrases = fused_phrases(captions.words, above, frozenset(ignore))
    rows = pl.Series(phrases[0].rows if phrases else [], dtype=pl.UInt32)
    images, total = captions.frame["image_sha256"], max(captions.frame.height, 1)
    parts = [
        DetectionPart(
            phrase.text,
            len(phrase.rows),
            len(phrase.rows) / total,
            images.gather(phrase.rows[:IMAGES_A_PART]).to_list(),
        )
        for phrase in phrases[:PARTS]
    ]
    return Detection("fused-term", None, images.gather(rows), captions.frame.height, rows.head(0), parts=parts)


def duplicates(captions: Captions) -> Detection:
    text = captions.text
    counted = (
        captions.frame.filter(~tests.is_empty(text))
        .group_by("text")
        .agg(pl.len().alias("captions"), pl.col("image_sha256").head(IMAGES_A_PART).alias("images"))
    )
    repeated = counted.filter(pl.col("captions") > 1).sort(["captions", "text"], descending=[True, False])
    total = max(len(text), 1)
    parts = [DetectionPart(**row, share=row["captions"] / total) for row in repeated.head(PARTS).iter_rows(named=True)]
    detection = captions.detect("duplicate", text.is_in(repeated["text"].implode()))
    return replace(detection, rows=detection.rows.head(0), parts=parts)


def near(captions: Captions, threshold: float, fused_above: float) -> Detection:
    text = captions.text
    text_ids = text.rank("dense").cast(pl.Int64).to_numpy()
    pairs = near_duplicates(captions.words, text_ids, threshold, fused_above)
    detection = captions.detect("near-duplicate", pl.Series(pairs.partner >= 0))
    notice = None
    if pairs.crowded:
        notice = (
            f"near-duplicate: {pairs.crowded:,} captions are too alike to compare all pairs; the count is a minimum."
        )
    # Show each pair once: captions whose partner comes later go first.
    leading = [row for row in detection.rows.head(1000).to_list() if row < pairs.partner[row]]
    rows = pl.concat([pl.Series(leading, dtype=pl.UInt32), detection.rows]).unique(maintain_order=True)
    return replace(detection, detail=lambda row: text[int(pairs.partner[row])], rows=rows, notice=notice)


def unmentioned(catalog: Catalog, captions: Captions, fields: Sequence[str]) -> list[Detection]:
    """Detect, for each field, the values that no caption of their images mentions."""
    mentioned = mentions(captions.frame, field_values(catalog, captions.reference.dataset, fields))
    by_value = mentioned.group_by("field", "value", maintain_order=True).agg(
        pl.col("mentioned").any(),
        pl.len().alias("captions"),
        pl.col("image_sha256").head(IMAGES_A_PART).alias("images"),
    )
    detections = []
    for name in fields:
        values = by_value.filter(pl.col("field") == name)
        never = values.filter(~pl.col("mentioned")).sort(["captions", "value"], descending=[True, False])
        images = max(mentioned.filter(pl.col("field") == name)["image_sha256"].n_unique(), 1)
        parts = [
            DetectionPart(row["value"], row["captions"], row["captions"] / images, row["images"])
            for row in never.head(PARTS).iter_rows(named=True)
        ]
        no_rows = pl.Series([], dtype=pl.UInt32)
        detections.append(Detection("unmentioned", name, never["value"], values.height, no_rows, parts=parts))
    return detections
