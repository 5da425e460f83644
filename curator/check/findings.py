"""Kinds of findings, with severity, default allowed share and advice; the result models."""

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
    """A kind of finding. `allowed`: the share, 0 to 1, up to which it passes by default."""

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
             "The model never reads those words. Shorten the captions, or put the important words first."),
        Kind("empty", "error", 0.0, "no words at all", "are empty",
             "They teach the model that an empty prompt means these images. Caption them, or move empty captions to a "
             "separate set; to train on empty captions at random, use the trainer's caption dropout."),
        Kind("one-word", "warning", 0.0, "a single word", "are one word",
             "Describe the content and the look of the image, or the word comes to mean all of it."),
        Kind("broken-characters", "error", 0.0, "U+FFFD: lost in decoding",
             "have characters that were lost in decoding (U+FFFD)",
             "The source wasn't UTF-8. Convert it (iconv -f WINDOWS-1252 -t UTF-8 FILE) and import again."),
        Kind("mojibake", "error", 0.0, "Ã© instead of é", "were decoded wrongly, such as Ã© for é",
             "Read the source as UTF-8, not as Windows-1252 or Latin-1, and import again."),
        Kind("control-characters", "error", 0.0, "control, invisible", "have control or invisible characters",
             "Remove them at the source: tokenizers turn them into odd tokens."),
        Kind("newline", "error", 0.0, "line breaks", "have line breaks",
             "Put each caption on one line: formats with one caption a line split them."),
        Kind("trigger-missing", "error", 0.0, "no trigger word", "lack the trigger word",
             "Add it, for example by a template, or train these images without a trigger."),
        Kind("fused-term", "warning", 0.85, "one phrase in most", "share one phrase",
             "The model learns a phrase of every caption as the style, or ignores it. If it is your trigger, pass it "
             "by --trigger; else remove it."),
        Kind("duplicate", "warning", 0.05, "another image's too", "are the same as another image's",
             "Captions that distinguish images train better: add what differs, for example metadata."),
        Kind("near-duplicate", "warning", 0.05, "nearly another's words", "have nearly the words of another",
             "Add what distinguishes the images; if only case, order or punctuation differ, use one form."),
        Kind("unmentioned", "warning", 0.0, "not mentioned", "never occur in the captions of their images",
             "Add the field to the template, or correct the captions, if the model should know these words.",
             unit="values"),
    )
}  # fmt: skip


class Example(BaseModel):
    """An affected caption. `detail`: its lost words, its near-duplicate or its repaired text, by kind."""

    file_name: str
    image_sha256: str
    text: str
    detail: str | None = None
    new: bool | None = Field(None, description="Not affected in the baseline. Null without a baseline.")


class Part(BaseModel):
    text: str
    captions: int
    share: float = Field(description="Share of all captions (for a value: of the images with the field), 0 to 1.")
    file_names: list[str] = Field(description="Some of its images.")


class Finding(BaseModel):
    code: str
    subject: str | None = Field(None, description="The field, trigger word or tokenizer.")
    state: State = Field(description="`allowed`: the share is not above the allowed one, or not above the baseline's.")
    unit: str = Field(description="captions or values.")
    count: int
    of: int
    share: float = Field(description="count / of, 0 to 1.")
    allowed: float = Field(description="The share up to which the check passes.")
    baseline_share: float | None = None
    worse: bool | None = Field(None, description="A larger share than in the baseline. Null without a baseline.")
    title: str
    parts: list[Part] = []
    examples: list[Example] = []
    advice: str


def parse_allow(pairs: Sequence[str]) -> dict[str, float]:
    """Parse `["duplicate=0.2", ...]` into shares by code. Raises BadOption."""
    allowed: dict[str, float] = {}
    for pair in pairs:
        code, _, value = pair.partition("=")
        if code not in KINDS:
            raise BadOption(f"--allow {pair}: no such check. Available: {', '.join(KINDS)}.")
        try:
            share = float(value.rstrip("%")) / (100 if value.endswith("%") else 1)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            raise BadOption(f"--allow {pair}: give a share from 0 to 1, or in percent: --allow {code}=5%.")
        allowed[code] = share
    return allowed
