"""What a check can find: the kinds, how grave each is, how much of it is fine unless told otherwise, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field

from schemas.errors import BadOption

Severity = Literal["error", "warning"]
State = Literal["error", "warning", "allowed", "clean", "unchecked"]


@dataclass(frozen=True)
class Kind:
    """A kind of finding. `allowed` is the share, 0 to 1, up to which it counts as fine."""

    code: str
    severity: Severity
    allowed: float
    short: str
    title: str
    advice: str
    unit: str = "captions"


KINDS = {
    kind.code: kind
    for kind in (
        Kind("lost-words", "error", 0.0, "past the tokenizer's limit", "lose words past the tokenizer's limit",
             "The model never reads those words. Shorten the captions, or put what matters first."),
        Kind("empty", "error", 0.0, "no words at all", "are empty",
             "They teach the model that no words mean these pictures. Caption them, or keep empty captions for a set "
             "of their own; for training without words now and then, the trainer has caption dropout."),
        Kind("one-word", "warning", 0.0, "a single word", "are one word",
             "Say what is in the picture and how it looks, or the word comes to mean all of it."),
        Kind("broken-characters", "error", 0.0, "U+FFFD: lost in reading",
             "have characters that were lost in reading (U+FFFD)",
             "The source wasn't UTF-8. Convert it (iconv -f WINDOWS-1252 -t UTF-8 FILE) and import again."),
        Kind("mojibake", "error", 0.0, "Ã© where é was meant", "were decoded wrongly, such as Ã© for é",
             "Read the source as UTF-8, where it was read as Windows-1252 or Latin-1, and import again."),
        Kind("control-characters", "error", 0.0, "control, invisible", "have control or invisible characters",
             "Take them out at the source: tokenizers make odd tokens of them."),
        Kind("newline", "error", 0.0, "line breaks", "have line breaks",
             "Put each caption on one line: formats with a caption a line tear them apart."),
        Kind("trigger-missing", "error", 0.0, "no trigger word", "lack the trigger word",
             "Add it, for example by a template, or train these pictures without a trigger."),
        Kind("fused-term", "warning", 0.85, "one phrase in most", "share one phrase",
             "What every caption says, the model learns as the style, or ignores. Keep it if it is your trigger "
             "(--trigger says so), else leave it out."),
        Kind("duplicate", "warning", 0.05, "another image's too", "are the same as another image's",
             "Captions that tell pictures apart train better: add what differs, for example metadata."),
        Kind("near-duplicate", "warning", 0.05, "nearly another's words", "have nearly the words of another",
             "Add what tells the pictures apart; where only case, order or punctuation differ, agree on one form."),
        Kind("unmentioned", "warning", 0.0, "never said", "never occur in the captions of their images",
             "Add the field to the template, or correct the captions, if the model should know these words.",
             unit="values"),
    )
}  # fmt: skip


class Example(BaseModel):
    """A caption to look at. `detail`: the words it loses, the caption it is like, what it should read ..."""

    file_name: str
    image_sha256: str
    text: str
    detail: str | None = None
    new: bool | None = Field(None, description="Not so in the baseline. Null without one.")


class Part(BaseModel):
    """What a finding is made of: a repeated caption, a fused phrase, a value that never occurs, and how often."""

    text: str
    captions: int
    share: float = Field(description="Of all captions (of a field's values: of the images that have one), 0 to 1.")
    file_names: list[str] = Field(description="Some of its images.")


class Finding(BaseModel):
    """What one check found."""

    code: str
    subject: str | None = Field(None, description="The field, the trigger word or the tokenizer it is about.")
    state: State = Field(
        description="`allowed`: found, but not more of it than allowed, or no worse than the baseline."
    )
    unit: str = Field(description="What is counted: captions or values.")
    count: int
    of: int
    share: float = Field(description="count / of, 0 to 1.")
    allowed: float = Field(description="The share up to which it is fine.")
    baseline_share: float | None = None
    worse: bool | None = Field(None, description="A larger share than in the baseline. Null without one.")
    title: str
    parts: list[Part] = []
    examples: list[Example] = []
    advice: str


def parse_allow(pairs: Sequence[str]) -> dict[str, float]:
    """`["duplicate=0.2", ...]` as shares by code. Raises BadOption."""
    allowed: dict[str, float] = {}
    for pair in pairs:
        code, _, value = pair.partition("=")
        if code not in KINDS:
            raise BadOption(f"--allow {pair}: there is no such check. There are: {', '.join(KINDS)}.")
        try:
            share = float(value.rstrip("%")) / (100 if value.endswith("%") else 1)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            raise BadOption(f"--allow {pair}: give a share from 0 to 1, or in percent: --allow {code}=5%.")
        allowed[code] = share
    return allowed
