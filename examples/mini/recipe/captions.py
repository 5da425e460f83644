"""Training captions: many phrasings of what is known about a picture.

A finetune will bring its own way of writing captions, so the base model must not hang on one template: captions vary
between a bare name, keywords, set style words ("noto emoji of ..."), colours and groups.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data import Record

STYLES = {
    "noto": [
        "noto emoji of",
        "noto drawing of",
        "a noto emoji of",
        "noto emoji,",
        "shaded drawing of",
        "noto style drawing of",
    ],
    "fluent": [
        "3d render of",
        "a 3d render of",
        "fluent 3d emoji of",
        "fluent drawing of",
        "glossy 3d drawing of",
        "3d emoji,",
    ],
    "twemoji": [
        "flat drawing of",
        "a flat drawing of",
        "twemoji drawing of",
        "flat emoji of",
        "twemoji emoji of",
        "flat emoji,",
    ],
}
GENERIC = [
    "an emoji of",
    "emoji of",
    "a drawing of",
    "drawing of",
    "a picture of",
    "an image of",
    "picture showing",
    "icon of",
    "a small drawing of",
    "illustration of",
    "this is",
    "a simple picture of",
]
STYLE_SUFFIXES = {
    "noto": [", noto style", " in the noto style"],
    "fluent": [", 3d", ", 3d render", " in the fluent style"],
    "twemoji": [", flat", ", flat style", " in the twemoji style"],
}
BACKGROUNDS = [" on a white background", ", white background", ", isolated on white", " on white"]


def with_article(noun: str, rng: random.Random) -> str:
    """Put "a", "an", "the" or nothing before a noun phrase; never before a plural-looking or proper name."""
    if rng.random() < 0.4 or noun.endswith("s") or noun[0].isupper() or ":" in noun:
        return noun
    article = "an" if noun[0] in "aeiou" else "a"
    return f"the {noun}" if rng.random() < 0.1 else f"{article} {noun}"


def subject(record: Record, rng: random.Random) -> str:
    """The name, sometimes with its main colours before or a keyword instead."""
    name = record.label
    if name.endswith(" face") and record.group == "animals-nature" and rng.random() < 0.4:
        name = name.removesuffix(" face")
    if record.colours and record.group != "flags" and rng.random() < 0.35:
        name = f"{' and '.join(record.colours)} {name}"
    return with_article(name, rng)


def keywords(record: Record, rng: random.Random) -> str:
    """One to four keywords in any order, colours among them."""
    words = [*record.tags, *record.colours]
    return ", ".join(rng.sample(words, min(len(words), rng.randint(1, 4))))


def ending(record: Record, rng: random.Random) -> str:
    """What follows the subject: group, keywords, background, or nothing."""
    draw = rng.random()
    if draw < 0.3:
        return f", {record.subgroup}"
    if draw < 0.38:
        return f", {record.group}"
    if draw < 0.55 and record.tags:
        return f", {keywords(record, rng)}"
    if draw < 0.62 and record.tags:
        return f" with {rng.choice(record.tags)}"
    return rng.choice(BACKGROUNDS) if draw < 0.68 else ""


def caption(record: Record, draw: int) -> str:
    """The caption of one draw, a pure function of the record and the number `draw`."""
    rng = random.Random(f"{record.source} {record.hexcode} {draw}")
    style = rng.random()
    if style < 0.08 and record.tags:
        return f"{record.label}, {keywords(record, rng)}"
    if style < 0.5:
        return f"{rng.choice(STYLES[record.source])} {subject(record, rng)}{ending(record, rng)}"
    if style < 0.58:
        return f"{subject(record, rng)}{rng.choice(STYLE_SUFFIXES[record.source])}"
    if style < 0.8:
        return f"{rng.choice(GENERIC)} {subject(record, rng)}{ending(record, rng)}"
    return f"{subject(record, rng)}{ending(record, rng)}"
