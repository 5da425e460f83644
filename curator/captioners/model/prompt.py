"""What a model is asked about an image: words with `${field}` placeholders, by the grammar of the strategy `template`.

`template` writes a whole table at once with polars; here one image at a time, in plain Python, as a machine needs no
polars. A test keeps the two equal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from curator.captioners.model import CannotCaption
from curator.captioners.template import Filter, Placeholder, Template, parse

Value = str | list[str] | None
Kind = Literal["text", "list", "items"]
"""As in curator.captioners.template: items are neat and none is empty."""


def field_names(*prompts: str) -> list[str]:
    """The fields that the prompts name, each once. Raises ValueError where a prompt isn't well formed."""
    return list(dict.fromkeys(part.field for prompt in prompts for part in parse(prompt).placeholders))


def render(prompt: str, fields: Mapping[str, Value]) -> str:
    """The prompt for one image. Raises CannotCaption where it has placeholders and the image none of their fields."""
    template = parse(prompt)
    values = [_value(part, fields.get(part.field)) for part in template.placeholders]
    if values and not any(values):
        names = ", ".join(field_names(prompt))
        raise CannotCaption(f"the prompt asks for {names}, and the image has none")
    return _sentence(template, values)


def _sentence(template: Template, values: list[str | None]) -> str:
    """A missing value takes the words before it with it, as `template` does."""
    pieces: list[str] = []
    for number, (part, value) in enumerate(zip(template.placeholders, values, strict=True)):
        if number == 0 or (value and any(values[:number])):
            pieces.append(part.before)
        pieces.append(value or "")
    return "".join([*pieces, template.after]).strip()


def _value(part: Placeholder, value: Value) -> str | None:
    kind: Kind = "list" if isinstance(value, list) else "text"
    wrapped = False
    for step in part.filters:
        value, kind = _filtered(step, value, kind)
        wrapped = wrapped or step.name == "wrap"
    if wrapped and isinstance(value, str):
        return value or None  # the blanks that wrap puts there are wanted
    return _text(value) or None


def _filtered(step: Filter, value: Value, kind: Kind) -> tuple[Value, Kind]:
    if value is None and step.name != "default":
        return None, kind
    made: tuple[Value, Kind] = FILTERS[step.name](value, kind, *step.arguments)
    return made


def _text(value: Value) -> str:
    if isinstance(value, list):
        return ", ".join(_items(value))
    return (value or "").strip()


def _items(values: list[str]) -> list[str]:
    return [item.strip() for item in values if item and item.strip()]


def _each(value: Value, kind: Kind, change: Callable[[str], str]) -> tuple[Value, Kind]:
    if isinstance(value, str):
        return change(value), kind
    changed = [change(item) for item in value or []]
    return (_items(changed) if kind == "items" else changed), kind


def _first_words(text: str, count: int) -> str:
    found = re.match(rf"\s*((?:\S+\s+){{0,{count - 1}}}\S+)", text) if count else None
    return found[1] if found else ""


def _split(value: Value, kind: Kind, separator: str) -> tuple[Value, Kind]:
    if kind == "items":
        return value, kind
    if isinstance(value, list):
        if len(value) != 1:
            return _items(value), "items"
        value = value[0]
    text = value or ""
    return _items(text.split(separator) if separator else list(text)), "items"


def _limit(value: Value, kind: Kind, count: int) -> tuple[Value, Kind]:
    items, _ = _split(value, kind, ",")
    return list(items or [])[:count], "items"


def _join(value: Value, kind: Kind, separator: str) -> tuple[Value, Kind]:
    items, _ = _split(value, kind, ",")
    return separator.join(items or []), "text"


def _default(value: Value, kind: Kind, text: str) -> tuple[Value, Kind]:
    return _text(value) or text, "text"


def _wrap(value: Value, kind: Kind, left: str, right: str) -> tuple[Value, Kind]:
    inside = _text(value)
    return (left + inside + right if inside else None), "text"


FILTERS: dict[str, Callable[..., tuple[Any, Kind]]] = {
    "lower": lambda value, kind: _each(value, kind, str.lower),
    "upper": lambda value, kind: _each(value, kind, str.upper),
    "split": _split,
    "limit": _limit,
    "words": lambda value, kind, count: _each(value, kind, lambda item: _first_words(item, count)),
    "replace": lambda value, kind, old, new: _each(value, kind, lambda item: item.replace(old, new)),
    "join": _join,
    "default": _default,
    "wrap": _wrap,
}
