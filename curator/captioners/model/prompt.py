"""What a model is asked about an image: words with `${field}` placeholders, as the strategy `template` writes them."""

from __future__ import annotations

from collections.abc import Mapping

from curator.captioners import template
from curator.captioners.model import CannotCaption

Value = str | list[str] | None


def field_names(*prompts: str) -> list[str]:
    """The fields that the prompts name, each once. Raises ValueError where a prompt isn't well formed."""
    return list(dict.fromkeys(part.field for prompt in prompts for part in template.parse(prompt).placeholders))


def render(prompt: str, fields: Mapping[str, Value]) -> str:
    """The prompt for one image. Raises CannotCaption where it has placeholders and the image none of their fields."""
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
