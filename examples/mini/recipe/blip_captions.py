"""What the mini BLIP learns to say of a picture: most often its bare name, so that greedy decoding gives a name.

The other forms serve captions begun by a prompt ("a picture of ...") and teach words that names lack: colours,
keywords.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from captions import with_article

if TYPE_CHECKING:
    from data import Record

PROMPTS = ("a picture of", "a drawing of", "an emoji of")
NAME_SHARE, PROMPT_SHARE, COLOUR_SHARE = 0.62, 0.16, 0.11
"""Shares of the forms; keywords after the name take the rest."""


def plain(text: str) -> str:
    """Lower case, spelled so that WordPiece decodes to the same text: no hyphens, no colons.

    >>> plain("flag: Côte d’Ivoire"), plain("smiling face with heart-eyes"), plain("woman's hat")
    ("flag of côte d'ivoire", 'smiling face with heart eyes', "woman's hat")
    """
    text = text.lower().replace("’", "'").replace("flag:", "flag of")
    kept = "".join(letter if letter.isalnum() or letter in "'&#" else " " for letter in text)
    return " ".join(kept.split())


def caption(record: Record, draw: int) -> str:
    """The caption of one draw, a pure function of the record and the number `draw`; draw 0 is the bare name."""
    rng = random.Random(f"blip {record.source} {record.hexcode} {draw}")
    name, form = plain(record.label), rng.random()
    if draw == 0 or form < NAME_SHARE:
        return name
    if form < NAME_SHARE + PROMPT_SHARE:
        return f"{rng.choice(PROMPTS)} {with_article(name, rng)}"
    colours = [colour for colour in record.colours if colour not in name.split()]
    if form < NAME_SHARE + PROMPT_SHARE + COLOUR_SHARE:
        return f"{' and '.join(colours)} {name}" if colours and record.group != "flags" else name
    words = [plain(tag) for tag in record.tags]
    return ", ".join([name, *rng.sample(words, min(len(words), rng.randint(1, 3)))])
