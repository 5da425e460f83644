"""A caption from the image's metadata: words with `${field}` placeholders.

    curator caption zoo --strategy template --set template -o 'template=drawing of ${name}, ${group}'

Use single quotes, or the shell removes the placeholders. `$$` writes a dollar sign.

A missing or empty field is omitted with its separator, which is the words between it and the previous placeholder. A
separator is also omitted before the first field that has a value. Words before the first and after the last placeholder
are always written. '${a}, ${b} by ${c}' gives 'B by C' without a, 'A by C' without b, 'A, B' without c. If all fields
are missing there is no caption. Attach words to one field with `wrap`.

Filters follow a field, left to right: ${tags|split ','|limit 3|lower|join ' and '}

    lower, upper            change the letter case
    split 'TEXT'            split text into a list
    limit N                 the first N items of a list; text (or a list of one) is split at commas first
    words N                 the first N words of each item
    replace 'OLD' 'NEW'     replace text in each item
    join 'TEXT'             join a list to text (default: ', ')
    default 'TEXT'          the value if there is none
    wrap 'LEFT' 'RIGHT'     text around a value, if there is one: ${year|wrap ' (' ')'}

Fields are those of the metadata, and `file_name`, `file_stem`, `folder`, `format`, `width_px`, `height_px`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from curator.captioners import StrategyOptions, captions

if TYPE_CHECKING:
    import polars as pl

VERSION = 1


class Options(StrategyOptions):
    template: str = Field(
        min_length=1,
        description="Words with ${field} placeholders.",
        examples=["openmoji drawing of ${annotation}, ${subgroup}"],
    )

    @field_validator("template")
    @classmethod
    def _is_well_formed(cls, value: str) -> str:
        parse(value)
        return value


@dataclass(frozen=True)
class Filter:
    name: str
    arguments: tuple[str | int, ...]


@dataclass(frozen=True)
class Placeholder:
    """A field with its filters. `before`: the words between it and the previous placeholder."""

    before: str
    field: str
    filters: tuple[Filter, ...]


@dataclass(frozen=True)
class Template:
    placeholders: tuple[Placeholder, ...]
    after: str


def fields(options: Options, available: list[str]) -> list[str]:
    return list(dict.fromkeys(part.field for part in parse(options.template).placeholders))


def warnings(options: Options) -> list[str]:
    if parse(options.template).placeholders:
        return []
    return [
        f"The template {options.template!r} has no ${{field}}. If the shell removed it, use single quotes. "
        "(For the same caption for all images, use the strategy `fixed`.)"
    ]


def caption(batch: pl.DataFrame, options: Options) -> pl.DataFrame:
    import polars as pl

    template = parse(options.template)
    values = batch.lazy().select(_values(template, batch))
    present = values.with_columns(pl.when(pl.col("^[0-9]+$") != "").then(pl.col("^[0-9]+$")))
    text = present.select(_sentence(template)).collect().to_series()
    return captions(text, reason=f"no value for {', '.join(fields(options, []))}")


# ---- the grammar

_PLACEHOLDER = re.compile(r"""\$\{(?P<inside>[^|}]*(?:\|(?:[^}'"]|'[^']*'|"[^"]*")*)?)\}""")
_FILTER = re.compile(r"""\s*\|\s*(?P<name>[a-z]+)(?P<arguments>(?:\s+(?:\d+|'[^']*'|"[^"]*"))*)\s*""")
_ARGUMENT = re.compile(r"""(\d+)|'([^']*)'|"([^"]*)\"""")


@functools.lru_cache(maxsize=64)
def parse(template: str) -> Template:
    """Parse a template. Raises ValueError naming the faulty part."""
    placeholders: list[Placeholder] = []
    words, position = "", 0
    while (dollar := template.find("$", position)) >= 0:
        words += template[position:dollar]
        if template.startswith("$$", dollar):
            words, position = words + "$", dollar + 2
        elif match := _PLACEHOLDER.match(template, dollar):
            placeholders.append(_placeholder(words, match["inside"]))
            words, position = "", match.end()
        elif re.match(r"\$[\w{]", template[dollar:]) and not template[dollar + 1].isdigit():
            raise ValueError(f"{template[dollar : dollar + 20]!r}: write ${{field}}, or $$ for a dollar sign")
        else:
            words, position = words + "$", dollar + 1
    return Template(tuple(placeholders), words + template[position:])


def _placeholder(before: str, inside: str) -> Placeholder:
    name = inside.partition("|")[0]
    if not name.strip():
        raise ValueError(f"${{{inside}}} names no field")
    filters: list[Filter] = []
    position = len(name)
    while position < len(inside):
        match = _FILTER.match(inside, position)
        if not match:
            raise ValueError(f"${{{inside}}}: can't read {inside[position:].strip()!r}; {_known_filters()}")
        filters.append(_filter(inside, match["name"], match["arguments"]))
        position = match.end()
    return Placeholder(before, name.strip(), tuple(filters))


def _filter(inside: str, name: str, arguments: str) -> Filter:
    if name not in FILTERS:
        raise ValueError(f"${{{inside}}}: there is no filter {name!r}; {_known_filters()}")
    values = tuple(
        int(match[1]) if match[1] else (match[2] if match[2] is not None else match[3])
        for match in _ARGUMENT.finditer(arguments)
    )
    types = FILTERS[name][0]
    if tuple(type(value) for value in values) != types:
        kinds = " ".join("N" if kind is int else "'TEXT'" for kind in types) or "nothing"
        raise ValueError(f"${{{inside}}}: {name} takes {kinds}")
    return Filter(name, values)


def _known_filters() -> str:
    return f"the filters are {', '.join(FILTERS)}"


# ---- the expressions

Kind = Literal["text", "list", "items"]
"""Kind of a value: text, a raw list of the metadata, or items (a list of stripped, non-empty texts)."""

Step = Callable[..., "tuple[pl.Expr, Kind]"]
"""(value, its kind, *arguments) -> (value, its kind)."""


def _each(value: pl.Expr, kind: Kind, change: Callable[[pl.Expr], pl.Expr]) -> tuple[pl.Expr, Kind]:
    import polars as pl

    return (change(value) if kind == "text" else value.list.eval(change(pl.element()))), kind


def _replace(value: pl.Expr, kind: Kind, old: str, new: str) -> tuple[pl.Expr, Kind]:
    changed, kind = _each(value, kind, lambda item: item.str.replace_all(old, new, literal=True))
    return (_items(changed) if kind == "items" else changed), kind


def _words(value: pl.Expr, kind: Kind, count: int) -> tuple[pl.Expr, Kind]:
    first = rf"^\s*((?:\S+\s+){{0,{max(count - 1, 0)}}}\S+)" if count else r"^()"
    changed, kind = _each(value, kind, lambda item: item.str.extract(first))
    return (_items(changed) if kind == "items" else changed), kind


def _split(value: pl.Expr, kind: Kind, separator: str) -> tuple[pl.Expr, Kind]:
    """Split text into items. A list of one item counts as text, because a column with any list holds text as lists."""
    import polars as pl

    if kind == "items":
        return value, kind
    if kind == "text":
        return _items(value.str.split(separator)), "items"
    split = value.list.first().str.split(separator)
    return _items(pl.when(value.list.len() == 1).then(split).otherwise(value)), "items"


def _limit(value: pl.Expr, kind: Kind, count: int) -> tuple[pl.Expr, Kind]:
    return _split(value, kind, ",")[0].list.head(count), "items"


def _join(value: pl.Expr, kind: Kind, separator: str) -> tuple[pl.Expr, Kind]:
    return _split(value, kind, ",")[0].list.join(separator), "text"


def _default(value: pl.Expr, kind: Kind, text: str) -> tuple[pl.Expr, Kind]:
    import polars as pl

    return _text_or_null(value, kind).fill_null(pl.lit(text)), "text"


def _wrap(value: pl.Expr, kind: Kind, left: str, right: str) -> tuple[pl.Expr, Kind]:
    import polars as pl

    return pl.lit(left) + _text_or_null(value, kind) + pl.lit(right), "text"


FILTERS: dict[str, tuple[tuple[type, ...], Step]] = {
    "lower": ((), lambda value, kind: _each(value, kind, lambda item: item.str.to_lowercase())),
    "upper": ((), lambda value, kind: _each(value, kind, lambda item: item.str.to_uppercase())),
    "split": ((str,), _split),
    "limit": ((int,), _limit),
    "words": ((int,), _words),
    "replace": ((str, str), _replace),
    "join": ((str,), _join),
    "default": ((str,), _default),
    "wrap": ((str, str), _wrap),
}


def _items(value: pl.Expr) -> pl.Expr:
    import polars as pl

    item = pl.element().str.strip_chars()
    return value.list.eval(item.filter(item != ""))


def _text(value: pl.Expr, kind: Kind) -> pl.Expr:
    if kind == "text":
        return value.str.strip_chars()
    return (value if kind == "items" else _items(value)).list.join(", ")


def _text_or_null(value: pl.Expr, kind: Kind) -> pl.Expr:
    import polars as pl

    text = _text(value, kind)
    return pl.when(text != "").then(text)


def _value(placeholder: Placeholder, kind: Kind) -> pl.Expr:
    """Return a placeholder's text, null or empty if there is no value."""
    import polars as pl

    value = pl.col(placeholder.field)
    wrapped = False
    for step in placeholder.filters:
        value, kind = FILTERS[step.name][1](value, kind, *step.arguments)
        wrapped = wrapped or step.name == "wrap"
    return value if wrapped and kind == "text" else _text(value, kind)  # keeps the blanks that `wrap` added


def _values(template: Template, batch: pl.DataFrame) -> list[pl.Expr]:
    import polars as pl

    return [
        _value(part, "list" if isinstance(batch.schema[part.field], pl.List) else "text").alias(str(number))
        for number, part in enumerate(template.placeholders)
    ] or [pl.repeat("", pl.len()).alias("none")]


def _sentence(template: Template) -> pl.Expr:
    """Join the columns "0", "1", ... with their separators; null if there are fields and all are missing."""
    import polars as pl

    numbers = [str(number) for number in range(len(template.placeholders))]
    if not numbers:
        return pl.lit(template.after) + pl.col("none")
    pieces = [pl.lit(template.placeholders[0].before), pl.col("0")]
    for number, part in zip(numbers[1:], template.placeholders[1:], strict=True):
        earlier = pl.any_horizontal(pl.col(before).is_not_null() for before in numbers[: int(number)])
        pieces += [pl.when(earlier & pl.col(number).is_not_null()).then(pl.lit(part.before)), pl.col(number)]
    sentence = pl.concat_str([*pieces, pl.lit(template.after)], ignore_nulls=True).str.strip_chars()
    return pl.when(pl.any_horizontal(pl.col(number).is_not_null() for number in numbers)).then(sentence)
