"""Prompts with `${field}` placeholders, by the rules of the strategy `template`."""

from __future__ import annotations

from collections.abc import Mapping

from curator.captioners import template
from curator.captioners.model import CannotCaption

Value = str | list[str] | None


def field_names(*prompts: str) -> list[str]:
    """Return the fields that the prompts name, each once. Raises ValueError for a malformed prompt."""
    return list(dict.fromkeys(part.field for prompt in prompts for part in template.parse(prompt).placeholders))


def fill_prompt(prompt: str, fields: Mapping[str, Value]) -> str:
    """Fill the placeholders for one image. Raises CannotCaption if the image has none of the fields."""
    names = field_names(prompt)
    if not names:
        return template.parse(prompt).after.strip()
    import polars as pl

    values = {name: fields.get(name) for name in names}
    kinds = {name: pl.List(pl.String) if isinstance(value, list) else pl.String for name, value in values.items()}
    row = pl.DataFrame({name: [value] for name, value in values.items()}, schema=kinds)
    text: str | None = template.caption(row, template.Options.model_construct(template=prompt))["text"][0]
    if text is None:
        raise CannotCaption(f"the prompt asks for {', '.join(names)}, and the image has none")
    return text
