"""`--where`: what it selects, what it says when it can't, and that no text breaks it."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curator import where
from schemas.errors import AmatlError, BadOption

METADATA: list[dict[str, Any]] = [
    {"annotation": "fox", "year": 2019, "tags": ["red", "animal"], "open": True, "subgroup": "mammal", "code": "12"},
    {"annotation": "dog face", "year": 2021, "tags": [], "open": False, "subgroup": "mammal", "code": "x9"},
    {"annotation": "100% pear_tree", "year": None, "open": True, "file_name": "shadowed", "odd name!": 1.5},
    {},
]


def table() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "sha256": ["a", "b", "c", "d"],
            "file_name": ["fox.png", "sub/dog.jpg", "pear.png", "none.webp"],
            "width_px": pl.Series([512, 256, 1024, 64], dtype=pl.Int32),
            "height_px": pl.Series([512, 512, 512, 64], dtype=pl.Int32),
            "size_bytes": [1000, 2000, 3000, 4000],
            "has_alpha": [True, False, True, False],
            "license": ["CC0", None, "CC BY 4.0", "cc by-sa 4.0"],
            "metadata": [json.dumps(record) for record in METADATA],
            "caption.my-set": ["a fox", "", None, 'it\'s "x"'],
        }
    )


TABLE = table()


@pytest.fixture
def images() -> pl.DataFrame:
    return TABLE


def chosen(images: pl.DataFrame, text: str) -> str:
    return "".join(images.filter(where.matches(where.parse(text), images))["sha256"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("width_px >= 512", "ac"),
        ("width_px<512", "bd"),
        ("width_px > 511.5 AND height_px == 512", "ac"),
        ("width_px > height_px", "c"),
        ("width_px = 5e2 or width_px <= 64", "d"),
        ("width_px = -3", ""),
        ("width_px < 99999999999999999999999999", "abcd"),
        ("width_px in (64, 256, 99999999999999)", "bd"),
        ("width_px in (64.0, 256.5)", "d"),
        ("has_alpha", "ac"),
        ("not has_alpha", "bd"),
        ("has_alpha = false", "bd"),
        ("has_alpha in (true)", "ac"),
        ("annotation = 'fox'", "a"),
        ('annotation = "dog face"', "b"),
        ("annotation != 'fox'", "bcd"),
        ("not annotation = 'fox'", "bcd"),
        ("annotation <> 'fox' and annotation is not null", "bc"),
        ("annotation < 'e'", "bc"),
        ("annotation in ('fox', 'dog face')", "ab"),
        ("annotation not in ('fox')", "bcd"),
        ("annotation like 'd%'", "b"),
        (r"annotation like '100\% pear\_tree'", "c"),
        (r"annotation like '100% pear\_tree'", "c"),
        ("annotation like 'f_x'", "a"),
        ("annotation like 'FOX'", ""),
        ("annotation ilike 'F%'", "a"),
        ("annotation not like '%o%'", "cd"),
        ("file_name like '%.png'", "ac"),
        ("file_name contains 'dog.'", "b"),
        ("license is null", "b"),
        ("license is not null and not license ilike 'cc by%'", "a"),
        ("year > 2019", "b"),
        ("year is null", "cd"),
        ("tags contains 'red'", "a"),
        ("tags not contains 'red'", "bcd"),
        ("open", "ac"),
        ("metadata.file_name = 'shadowed'", "c"),
        ("`odd name!` = 1.5", "c"),
        ("code = 12", "a"),
        ("code in ('x9', 12)", "ab"),
        ("caption.my-set = ''", "b"),
        ("`caption.my-set` = 'it''s \"x\"'", "d"),
        ('caption.my-set contains """x"""', "d"),
        ("caption.my-set is null", "c"),
        ("annotation = 'fox' or has_alpha and width_px > 600", "ac"),
        ("(annotation = 'fox' or has_alpha) and width_px > 600", "c"),
        ("not (annotation = 'fox' or has_alpha)", "bd"),
        ("not not has_alpha", "ac"),
        ("subgroup = annotation", ""),
    ],
)
def test_selects(images: pl.DataFrame, text: str, expected: str) -> None:
    assert chosen(images, text) == expected


@pytest.mark.parametrize(
    ("text", "problem", "start"),
    [
        ("", "the expression is empty", 0),
        ("   ", "the expression is empty", 3),
        ("anotation = 'fox'", "Did you mean `annotation`?", 0),
        ("annotation = fox", "no column `fox`. If it is text, put it in quotes", 13),
        ("annotation = 'fox", "never closed", 13),
        ("annotation = ‘fox’", "straight quotes", 13),
        ("annotation = 'fox' annotation", "`and`, `or` or the end expected", 19),
        ("width_px", "needs a comparison: it is a number", 0),
        ("width_px 512", "a comparison expected after `width_px`", 9),
        ("width_px = 512px", "that is no number", 11),
        ("width_px = '512'", "is a number: no quotes", 11),
        ("width_px like '5%'", "needs text, and `width_px` is a number", 0),
        ("has_alpha = 1", "yes or no", 12),
        ("has_alpha < true", "only = and !=", 0),
        ("tags = 'red'", "is a list: use `contains`", 0),
        ("license = null", "write `is null`", 10),
        ("license is 3", "`null` expected after `is`", 11),
        ("license not = 3", "expected after `not`", 12),
        ("(has_alpha", "`)` expected", 10),
        ("has_alpha)", "or the end expected", 9),
        ("width_px in 3", "`(` expected", 12),
        ("width_px in ()", "text in quotes, a number", 13),
        ("width_px = height_px = 3", "or the end expected", 21),
        ("annotation = true", "is text", 13),
        ("annotation = width_px", "can't be compared", 13),
        ("annotation = 'x'; drop table images", "means nothing here", 16),
        ("1 = 1", "a column expected here", 0),
        ("has_alpha && open", "write `and`", 10),
        ("(" * 60 + "open" + ")" * 60, "more than 40 brackets", 40),
        ("a" * 10_001, "longer than 10000 characters", 10_000),
    ],
)
def test_says_what_is_wrong_and_where(images: pl.DataFrame, text: str, problem: str, start: int) -> None:
    with pytest.raises(where.BadExpression) as error:
        chosen(images, text)
    assert problem in str(error.value)
    assert error.value.start == start
    assert error.value.exit_code == 2


def test_an_unknown_column_lists_those_there_are_and_points_at_it(images: pl.DataFrame) -> None:
    with pytest.raises(where.BadExpression) as error:
        where.matches(where.parse("has_alpha and wdth_px > 3", option="--holdout-where"), images)
    first, line, carets = str(error.value).split("\n")
    assert first.startswith("--holdout-where: there is no column `wdth_px`. Did you mean `width_px`?")
    assert "caption.my-set, annotation, year" in first
    assert "metadata.file_name" in first
    assert line[carets.index("^") : carets.rindex("^") + 1] == "wdth_px"


def test_the_place_is_shown_in_a_long_expression(images: pl.DataFrame) -> None:
    text = "has_alpha or " * 300 + "nothing_like_it" + " or has_alpha" * 300
    with pytest.raises(where.BadExpression) as error:
        chosen(images, text)
    _, line, carets = str(error.value).split("\n")
    assert len(line) < 200
    assert line[carets.index("^") : carets.rindex("^") + 1] == "nothing_like_it"


def test_a_table_without_rows(images: pl.DataFrame) -> None:
    assert where.matches(where.parse("width_px > 3"), images.head(0)).to_list() == []


def test_metadata_of_mixed_types_is_text() -> None:
    records = [{"v": 3}, {"v": "x"}, {"v": {"a": 1}}, {"v": float("nan")}, {"v": 10**30}]
    images = pl.DataFrame({"sha256": list("abcde"), "metadata": [json.dumps(record) for record in records]})
    assert chosen(images, "v = 3") == "a"
    assert chosen(images, "v = 'x'") == "b"
    assert chosen(images, "v contains '\"a\"'") == "c"
    assert chosen(images, "v is null") == "d"
    assert chosen(images, "v > 4") == "e"


COLUMNS = ["width_px", "has_alpha", "annotation", "license", "year", "tags", "caption.my-set", "`odd name!`", "nope"]
WORDS = [
    "and",
    "or",
    "not",
    "in",
    "like",
    "ilike",
    "contains",
    "is",
    "null",
    "true",
    "(",
    ")",
    ",",
    "=",
    "!=",
    "<",
    ">=",
]
PIECES = st.one_of(
    st.sampled_from([*COLUMNS, *WORDS]),
    st.text(max_size=6).map(lambda text: "'" + text.replace("'", "''") + "'"),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
    st.integers(-(10**40), 10**40).map(str),
    st.text(max_size=4),
)
LITERALS = st.one_of(
    st.text(max_size=8).map(lambda text: "'" + text.replace("'", "''") + "'"),
    st.integers(-(10**25), 10**25).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
    st.sampled_from(["true", "false"]),
)
PREDICATES = st.one_of(
    st.builds(" ".join, st.tuples(st.sampled_from(COLUMNS), st.sampled_from(["=", "!=", "<", ">="]), LITERALS)),
    st.builds(" ".join, st.tuples(st.sampled_from(COLUMNS), st.sampled_from(["=", "<"]), st.sampled_from(COLUMNS))),
    st.builds(" ".join, st.tuples(st.sampled_from(COLUMNS), st.sampled_from(["like", "ilike", "contains"]), LITERALS)),
    st.builds(lambda c, v: f"{c} in ({', '.join(v)})", st.sampled_from(COLUMNS), st.lists(LITERALS, min_size=1)),
)


def only_amatl_errors(images: pl.DataFrame, text: str) -> None:
    try:
        mask = where.matches(where.parse(text), images)
    except AmatlError as error:
        assert isinstance(error, BadOption)
        assert str(error)
    else:
        assert mask.dtype == pl.Boolean and len(mask) == len(images) and mask.null_count() == 0


FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FUZZ
@given(text=st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=12).map(" ".join)))
def test_no_text_gives_anything_but_a_mask_or_an_amatl_error(text: str) -> None:
    only_amatl_errors(TABLE, text)


@FUZZ
@given(text=st.lists(PREDICATES, min_size=1, max_size=4).map(" or not ".join))
def test_nor_does_a_well_formed_one(text: str) -> None:
    only_amatl_errors(TABLE, text)


@FUZZ
@given(text=PREDICATES)
def test_not_is_the_exact_opposite(text: str) -> None:
    try:
        plain = where.matches(where.parse(text), TABLE)
    except AmatlError:
        return
    assert (where.matches(where.parse(f"not ({text})"), TABLE) != plain).all()
