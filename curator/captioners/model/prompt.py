"""The question to a model about one image: words with `${field}` placeholders, written by the strategy `template`.

An image costs about a millisecond, next to nothing beside a model, and the grammar and its filters stand once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from curator.captioners import template
from curator.captioners.model import CannotCaption

if TYPE_CHECKING:
    import polars as pl

Value = str | list[str] | None


def field_names(*prompts: str) -> list[str]:
    """Return the fields that the prompts name, each once. Raises ValueError if a prompt isn't well formed."""
    return list(dict.fromkeys(part.field for prompt in prompts for part in template.parse(prompt).placeholders))


def render(prompt: str, fields: Mapping[str, Value]) -> str:
    """Return the prompt for one image. Raises CannotCaption if it names fields and the image has none of them."""
    names = field_names(prompt)
    if not names:
        return template.parse(prompt).after.strip()
    text = template.render(prompt, _row(names, fields))[0]
    if text is None:
        raise CannotCaption(f"the prompt asks for {', '.join(names)}, and the image has none")
    return str(text).strip()


def _row(names: list[str], fields: Mapping[str, Value]) -> pl.DataFrame:
    import polars as pl

    kinds = {name: pl.List(pl.String) if isinstance(fields.get(name), list) else pl.String for name in names}
    return pl.DataFrame({name: [fields.get(name)] for name in names}, schema=kinds)
