"""Captions composed of other sets' captions: joined, or the first there is, with a trigger word, more words, metadata.

    curator caption zoo --strategy compose --set both -o sets=template,blip
    curator caption zoo --strategy compose --set best -o sets=human,blip -o mode=first
    curator caption zoo --strategy compose --set sks -o sets=blip@2 -o trigger=sks -o 'suffix=, oil on canvas'
    curator caption zoo --strategy compose --set full -o sets=blip -o add=subgroup,group

Each of `sets` is a set as it is now (blip) or one of its versions (blip@2). When a caption there changes, the same
command composes that image again, and no other. In this order:

    mode            join: the captions there are, each once, with `separator` between; first: the first not empty
    add             terms of these metadata fields that aren't said yet: a term is said where its words stand
                    together in the caption, whatever their case; text is split into terms at its commas
    prefix, suffix  before and after that, just as they are written, blanks too
    trigger         in front of it all. Not doubled: where it stands as a term of its own, it moves to the front;
                    where it is said within a phrase ("a photo of sks dog"), it stays there

An image that has no caption in any of the sets, or empty ones only, gets none.
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
    """Of what, and how."""

    sets: Names = Field(min_length=1, description="The sets or versions, in order.", examples=[["template", "blip"]])
    mode: Literal["join", "first"] = Field(default="join", description="join, or first: the first that isn't empty.")
    separator: str = Field(default=", ", description="Between what is joined, added or put in front.")
    add: Names = Field(default=[], description="Metadata fields whose terms are added where they aren't said yet.")
    prefix: str = Field(default="", description="Words before, with the blank after them.")
    suffix: str = Field(default="", description="Words after, with the blank or comma before them.")
    trigger: str = Field(default="", description="A trigger word in front, not doubled.")

    @field_validator("sets")
    @classmethod
    def _are_references(cls, value: list[str]) -> list[str]:
        for name in value:
            if not SET.fullmatch(name):
                raise ValueError(f"{name!r} isn't a set of this dataset; write SET or SET@n, for example template@1")
        if len(set(value)) < len(value):
            raise ValueError("a set is named twice")
        return value


def fields(options: Options, available: list[str]) -> list[str]:
    """The captions of the sets, and the metadata fields to add."""
    return list(dict.fromkeys([*(CAPTION + name for name in options.sets), *options.add]))


def caption(batch: pl.DataFrame, options: Options) -> pl.DataFrame:
    """Row by row: what is said already can't be told by an expression."""
    import polars as pl

    names = fields(options, [])
    made = []
    for row in batch.select(names).iter_rows():
        values = dict(zip(names, row, strict=True))
        found = [values[CAPTION + name] for name in options.sets]
        made.append(compose(found, [values[name] for name in options.add], options))
    return captions(pl.Series(made, dtype=pl.String), reason=f"no caption in {', '.join(options.sets)}")


def compose(found: Iterable[Value], values: Iterable[Value], options: Options) -> str | None:
    """One caption of the sets' captions (`found`) and the metadata to add; None where there is nothing."""
    parts = list(dict.fromkeys(text for one in found if (text := _text(one))))
    if not parts:
        return None
    body = parts[0] if options.mode == "first" else options.separator.join(parts)
    for term in _terms(values):
        if not says(body, term):
            body += options.separator + term
    return _triggered(f"{options.prefix}{body}{options.suffix}".strip(), options.trigger.strip(), options.separator)


def says(text: str, term: str) -> bool:
    """Whether the words of `term` stand together in `text`, whatever their case; a term without words is said."""
    return f" {_words(term)} " in f" {_words(text)} " if _words(term) else True


def _triggered(text: str, trigger: str, separator: str) -> str:
    if not trigger:
        return text
    terms = text.split(separator) if separator.strip() else [text]
    others = separator.join(term for term in terms if _words(term) != _words(trigger))
    if says(others, trigger):
        return others
    return f"{trigger}{separator}{others}" if others else trigger


def _terms(values: Iterable[Value]) -> Iterator[str]:
    """The terms of metadata values, blanks round them left out."""
    for value in values:
        for item in value if isinstance(value, list) else (value or "").split(","):
            if item and item.strip():
                yield item.strip()


def _text(value: Value) -> str:
    return (", ".join(value) if isinstance(value, list) else value or "").strip()


def _words(text: str) -> str:
    return " ".join(WORD.findall(text.casefold()))
