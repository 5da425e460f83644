"""Templates: the grammar, missing fields, filters, and that compiled expressions do what a plain loop would."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.captioners import template
from curator.captioners.template import Options, parse


def captions_of(text: str, **columns: Sequence[Any]) -> list[str | None]:
    """The captions that a template makes of these columns."""
    made: list[str | None] = template.caption(pl.DataFrame(columns, strict=False), Options(template=text))[
        "text"
    ].to_list()
    return made


@pytest.mark.parametrize(
    ("row", "caption"),
    [
        (("A", "B", "C"), "A, B by C"),
        ((None, "B", "C"), "B by C"),
        (("A", None, "C"), "A by C"),
        (("A", "B", None), "A, B"),
        ((None, None, "C"), "C"),
        (("A", "  ", ""), "A"),
        ((" A ", "B", "C"), "A, B by C"),
        ((None, None, None), None),
    ],
)
def test_a_missing_field_takes_its_separator_with_it(row: tuple[str | None, ...], caption: str | None) -> None:
    columns = {name: pl.Series([value], dtype=pl.String) for name, value in zip("abc", row, strict=True)}
    made = template.caption(pl.DataFrame(columns), Options(template="${a}, ${b} by ${c}"))
    assert made["text"].to_list() == [caption]


def test_words_before_the_first_and_after_the_last_field_are_always_written() -> None:
    text = "drawing of ${a}, ${b} on white"
    assert captions_of(text, a=["fox", None], b=[None, "animal"]) == [
        "drawing of fox on white",
        "drawing of animal on white",
    ]


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ("${tags|limit 2}", "Red fox, Owl"),
        ("${tags|limit 2|lower|join ' and '}", "red fox and owl"),
        ("${list|limit 2|join ' and '}", "One and Two, half"),
        ("${tags|split ' '|limit 1}", "Red"),
        ("${tags|words 1}", "Red"),
        ("${list|words 2|limit 2}", "One, Two, half"),
        ("${one|limit 1}", "a"),
        ("${tags|upper}", "RED FOX, OWL,, BAT"),
        ("${tags|replace 'Red ' ''}", "fox, Owl,, Bat"),
        ("${none|default 'thing'}", "thing"),
        ("${tags|limit 1|wrap '(' ')'}", "(Red fox)"),
        ('${tags|join "; "}', "Red fox; Owl; Bat"),
        ("${tags|limit 1|join '}'}", "Red fox"),
        ("${ tags | limit 1 }", "Red fox"),
        ("$$5 for ${tags|limit 1}", "$5 for Red fox"),
        ("$5 for ${tags|limit 1}", "$5 for Red fox"),
    ],
)
def test_filters(text: str, caption: str) -> None:
    columns = {
        "tags": ["Red fox, Owl,, Bat"],
        "list": [["One", "Two, half", " ", "Three"]],
        "none": [""],
        "one": [["a, b"]],
    }
    assert captions_of(text, **columns) == [caption]


def test_wrap_leaves_nothing_round_nothing() -> None:
    assert captions_of("${a}${b|wrap ' (' ')'}", a=["fox", "owl"], b=["1999", None]) == ["fox (1999)", "owl"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$name", "write \\$\\{field\\}"),
        ("${name", "write \\$\\{field\\}"),
        ("${}", "names no field"),
        ("${|lower}", "names no field"),
        ("${a|limit}", "limit takes N"),
        ("${a|limit 'x'}", "limit takes N"),
        ("${a|lower 2}", "lower takes nothing"),
        ("${a|replace 'x'}", "replace takes 'TEXT' 'TEXT'"),
        ("${a|LOWER}", "can't read"),
        ("${a|shout}", "no filter 'shout'"),
    ],
)
def test_a_malformed_template_says_what_is_wrong_with_which_part(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_a_template_without_a_field_warns_that_a_shell_may_have_eaten_it() -> None:
    warnings = template.warnings(Options(template="drawing of , "))
    assert len(warnings) == 1
    assert "single quotes" in warnings[0]
    assert template.warnings(Options(template="drawing of ${a}")) == []
    assert captions_of("drawing", a=["x", "y"]) == ["drawing", "drawing"]


def test_the_fields_it_reads_are_each_named_once() -> None:
    assert template.fields(Options(template="${b} ${a|lower} ${b}"), []) == ["b", "a"]


def plainly(separators: list[str], values: list[str | None]) -> str | None:
    """The rule of missing fields as a loop over one row: the reference."""
    present = [(at, value.strip()) for at, value in enumerate(values) if value and value.strip()]
    if not present:
        return None
    text = separators[0]
    for place, (at, value) in enumerate(present):
        text += (separators[at] if place else "") + value
    return (text + separators[-1]).strip()


words = st.text(st.characters(exclude_characters="$", exclude_categories=("Cs", "Cc")), max_size=6)
values = st.lists(st.one_of(st.none(), words), min_size=3, max_size=3)


@settings(max_examples=30, deadline=None)
@given(st.lists(words, min_size=4, max_size=4), st.lists(values, min_size=1, max_size=5))
def test_compiled_is_what_a_loop_would_do(separators: list[str], rows: list[list[str | None]]) -> None:
    text = separators[0] + "${a}" + separators[1] + "${b}" + separators[2] + "${c}" + separators[3]
    frame = pl.DataFrame(rows, schema={"a": pl.String, "b": pl.String, "c": pl.String}, orient="row")
    made = template.caption(frame, Options(template=text))["text"].to_list()
    assert made == [plainly(separators, row) for row in rows]
