"""Captions composed of other sets' captions: joined, or the first one, with trigger word, affixes and metadata.

    curator caption zoo --strategy compose --set both -o sets=template,blip
    curator caption zoo --strategy compose --set best -o sets=human,blip -o mode=first
    curator caption zoo --strategy compose --set sks -o sets=blip@2 -o trigger=sks -o 'suffix=, oil on canvas'
    curator caption zoo --strategy compose --set full -o sets=blip -o add=subgroup,group

Each of `sets` is a current set (blip) or a version (blip@2). When a caption there changes, the same command composes
only that image again. Steps, in order:

    mode            join: all captions, each once, with `separator` between; first: the first that isn't empty
    add             append the terms of these metadata fields (text is split at commas) that the caption doesn't
                    mention yet; it mentions a term if it has the words in a row, in any letter case
    prefix, suffix  put before and after, blanks included
    trigger         put in front, but only once: a term equal to the trigger moves to the front; a trigger within a
                    phrase ("a photo of sks dog") stays there

An image without a caption in any of the sets, or with empty ones only, gets none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from curator.captioners import Names, StrategyOptions, captions

if TYPE_CHECKING:
    import polars as pl

VERSION = 1
CAPTION = "caption."
SET = re.compile(r"[a-z0-9_-]+(@[1-9][0-9]*)?")
WORD = re.compile(r"\w+(?:['’-]\w+)*")

Value = str | list[str] | None


class Options(StrategyOptions):
    sets: Names = Field(min_length=1, description="The sets or versions, in order.", examples=[["template", "blip"]])
    mode: Literal["join", "first"] = Field(default="join", description="join, or first: the first that isn't empty.")
    separator: str = Field(default=", ", description="Text between the parts.")
    add: Names = Field(default=[], description="Metadata fields whose terms are added unless mentioned already.")
    prefix: str = Field(default="", description="Words before, with the blank after them.")
    suffix: str = Field(default="", description="Words after, with the blank or comma before them.")
    trigger: str = Field(default="", description="A trigger word in front, not repeated.")

    @field_validator("sets")
    @classmethod
    def _are_references(cls, value: list[str]) -> list[str]:
        for name in value:
            if not SET.fullmatch(name):
                raise ValueError(f"{name!r} doesn't name a set; write SET or SET@n, for example template@1")
        if len(set(value)) < len(value):
            raise ValueError("a set is named twice")
        return value


def fields(options: Options, available: list[str]) -> list[str]:
    return list(dict.fromkeys([*(CAPTION + name for name in options.sets), *options.add]))


def caption(batch: pl.DataFrame, options: Options) -> pl.DataFrame:
    """Compose row by row, because an expression can't tell which terms are mentioned already."""
    import polars as pl

    names = fields(options, [])
    composed = []
    for row in batch.select(names).iter_rows():
        values = dict(zip(names, row, strict=True))
        sources = [values[CAPTION + name] for name in options.sets]
        composed.append(compose(sources, [values[name] for name in options.add], options))
    return captions(pl.Series(composed, dtype=pl.String), reason=f"no caption in {', '.join(options.sets)}")


def compose(sources: Iterable[Value], values: Iterable[Value], options: Options) -> str | None:
    """Compose one caption from the sets' captions and the metadata values to add; None if there is no caption."""
    parts = list(dict.fromkeys(text for source in sources if (text := _text(source))))
    if not parts:
        return None
    body = parts[0] if options.mode == "first" else options.separator.join(parts)
    for term in _terms(values):
        if not mentions(body, term):
            body += options.separator + term
    return _triggered(f"{options.prefix}{body}{options.suffix}".strip(), options.trigger.strip(), options.separator)


def mentions(text: str, term: str) -> bool:
    """Return whether `text` has the words of `term` in a row, in any letter case. True for a term without words."""
    return f" {_words(term)} " in f" {_words(text)} " if _words(term) else True


def _triggered(text: str, trigger: str, separator: str) -> str:
    if not trigger:
        return text
    terms = text.split(separator) if separator.strip() else [text]
    others = separator.join(term for term in terms if _words(term) != _words(trigger))
    if mentions(others, trigger):
        return others
    return f"{trigger}{separator}{others}" if others else trigger


def _terms(values: Iterable[Value]) -> Iterator[str]:
    for value in values:
        for item in value if isinstance(value, list) else (value or "").split(","):
            if item and item.strip():
                yield item.strip()


def _text(value: Value) -> str:
    return (", ".join(value) if isinstance(value, list) else value or "").strip()


def _words(text: str) -> str:
    return " ".join(WORD.findall(text.casefold()))
