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
NAME_SHARE, PROMPT_SHARE = 0.6, 0.25
"""Shares of the bare name and of captions begun by a prompt; keywords after the name take the rest."""


def plain(text: str) -> str:
    """Lower case, spelled so that WordPiece decodes to the same text: no hyphens, no colons.

    >>> plain("flag: Côte d’Ivoire"), plain("smiling face with heart-eyes"), plain("woman's hat")
    ("flag of côte d'ivoire", 'smiling face with heart eyes', "woman's hat")
    """
    text = text.lower().replace("’", "'").replace("flag:", "flag of")
    kept = "".join(letter if letter.isalnum() or letter in "'&#" else " " for letter in text)
    return " ".join(kept.split())


def caption(record: Record, draw: int) -> tuple[str, str]:
    """Prompt (may be empty) and what follows it, a pure function of the record and the number `draw`.

    The prompt is given, not learnt: else a model in doubt would say "a picture of" rather than risk a name.
    """
    rng = random.Random(f"blip {record.source} {record.hexcode} {draw}")
    name, form = plain(record.label), rng.random()
    if form < NAME_SHARE:
        return "", name
    if form < NAME_SHARE + PROMPT_SHARE:
        colours = [colour for colour in record.colours if colour not in name.split()]
        if colours and record.group != "flags" and rng.random() < 0.5:
            name = f"{' and '.join(colours)} {name}"
        return rng.choice(PROMPTS), with_article(name, rng)
    words = [plain(tag) for tag in record.tags]
    return "", ", ".join([name, *rng.sample(words, min(len(words), rng.randint(1, 2)))])
