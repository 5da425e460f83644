"""Prompts with placeholders say what the strategy `template` would, image by image."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.captioners import template
from curator.captioners.model import CannotCaption
from curator.captioners.model.prompt import Value, field_names, fill_prompt

TEXTS = st.sampled_from(["", " ", "red fox", " Owl,barn owl ,, x", "a_b  c", "é 日本", "solo", ",", "a\tb c"])
VALUES = st.one_of(st.none(), TEXTS, st.lists(TEXTS, max_size=3))
FILTERS = st.sampled_from(
    ["lower", "upper", "split ' '", "split ','", "limit 2", "limit 0", "words 1", "words 2", "replace 'o' ''",
     "replace '_' ' '", "join ' and '", "default 'none'", "wrap ' (' ')'"]
)  # fmt: skip
PLACEHOLDERS = st.builds(
    lambda name, filters: "${" + "|".join([name, *filters]) + "}", st.sampled_from("abc"), st.lists(FILTERS, max_size=3)
)
PROMPTS = st.builds(
    lambda parts, end: "".join(parts) + end,
    st.lists(st.one_of(PLACEHOLDERS, st.sampled_from([" of ", ", ", "$$5 ", "see: "])), max_size=6),
    st.sampled_from(["", " please.", "  "]),
)


def by_template(prompt: str, row: dict[str, Value]) -> str | None:
    """What the strategy writes for the row, and None where it has nothing to say."""
    columns = {
        name: pl.Series([value], dtype=pl.List(pl.String) if isinstance(value, list) else pl.String)
        for name, value in row.items()
    }
    options = template.Options.model_construct(template=prompt)
    text: str | None = template.caption(pl.DataFrame(columns), options)["text"][0]
    return text


@settings(max_examples=100, deadline=None)
@given(PROMPTS, st.fixed_dictionaries({"a": VALUES, "b": VALUES, "c": VALUES}))
def test_a_prompt_is_what_template_would_write(prompt: str, row: dict[str, Value]) -> None:
    expected = by_template(prompt, row)
    try:
        assert (
            fill_prompt(prompt, row) == (expected or "").strip()
        )  # without placeholders `template` keeps blanks at the ends
    except CannotCaption:
        assert expected is None


def test_a_missing_field_takes_its_separator_with_it() -> None:
    prompt = "Describe ${name}, ${year} by ${artist|upper}."
    assert fill_prompt(prompt, {"name": "a fox", "year": None, "artist": "ana"}) == "Describe a fox by ANA."
    assert fill_prompt(prompt, {"name": "a fox"}) == "Describe a fox."
    with pytest.raises(CannotCaption, match="asks for name, year, artist"):
        fill_prompt(prompt, {"year": " "})


def test_words_alone_are_left_as_they_are() -> None:
    assert fill_prompt("<DETAILED_CAPTION>", {}) == "<DETAILED_CAPTION>"
    assert fill_prompt("", {}) == ""
    assert field_names("a ${x} ${y|lower}", "${x}") == ["x", "y"]
