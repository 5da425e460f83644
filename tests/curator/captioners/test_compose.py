"""The strategy `compose`: its rules, and its place among the sets it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curator.caption import CaptionResult, caption
from curator.caption_sets.history import history
from curator.caption_sets.versions import commit, restore
from curator.captioners.compose import Options, compose, mentions
from curator.catalog import Catalog
from curator.cli.text.history import text_of_history
from schemas.errors import BadOption, NotFound
from tests.curator.fill import add_images, sha
from tests.curator.lab import new_catalog


def made(found: list[Any], values: list[Any] = [], **options: Any) -> str | None:  # noqa: B006
    return compose(found, values, Options(sets=["a"], **options))


@pytest.mark.parametrize(
    ("found", "options", "expected"),
    [
        (["a fox", "red"], {}, "a fox, red"),
        ([None, " ", "red"], {}, "red"),
        (["a fox", "a fox"], {}, "a fox"),
        (["a fox", "red"], {"separator": " and "}, "a fox and red"),
        (["", "red", "blue"], {"mode": "first"}, "red"),
        ([None, ""], {"prefix": "photo of ", "trigger": "sks"}, None),
        (["a fox"], {"prefix": "photo of ", "suffix": ", oil"}, "photo of a fox, oil"),
        (["a fox"], {"trigger": "sks"}, "sks, a fox"),
        (["a fox"], {"trigger": "sks", "separator": " "}, "sks a fox"),
        (["a fox"], {"trigger": "sks", "prefix": "photo of "}, "sks, photo of a fox"),
        (["SKS, a fox"], {"trigger": "sks"}, "sks, a fox"),
        (["a fox, sks"], {"trigger": "sks"}, "sks, a fox"),
        (["photo of Sks fox"], {"trigger": "sks"}, "photo of Sks fox"),
        (["sksa fox"], {"trigger": "sks"}, "sks, sksa fox"),
        (["sks"], {"trigger": "sks"}, "sks"),
    ],
)
def test_joins(found: list[str | None], options: dict[str, Any], expected: str | None) -> None:
    assert made(found, **options) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["hot dog"], "a Hot Dog on a plate"),
        (["dog hot"], "a Hot Dog on a plate, dog hot"),
        (["do"], "a Hot Dog on a plate, do"),
        (["food-prepared", "plate"], "a Hot Dog on a plate, food-prepared"),
        (["red, plate,, green "], "a Hot Dog on a plate, red, green"),
        ([["red, dark", "plate"], None], "a Hot Dog on a plate, red, dark"),
        (["red", "RED"], "a Hot Dog on a plate, red"),
        ([None, "", "!"], "a Hot Dog on a plate"),
    ],
)
def test_adds_the_terms_that_are_not_said(values: list[Any], expected: str) -> None:
    assert made(["a Hot Dog on a plate"], values, add=["x"] * len(values)) == expected


def test_words_are_compared_as_words() -> None:
    assert mentions("the café's owl-like face", "Owl-like")
    assert not mentions("owl-like", "owl")
    assert not mentions("foxes", "fox")


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with new_catalog(tmp_path / "lab.duckdb", fill) as opened:
        yield opened


def fill(catalog: Catalog) -> None:
    add_images(catalog, "zoo", [{"name": "fox", "group": "wild"}, {"name": "owl"}, {"group": "none"}])
    caption(catalog, "zoo", "template", "t", {"template": "a ${name}"})


def run(catalog: Catalog, set_name: str = "c", **options: str) -> CaptionResult:
    return caption(catalog, "zoo", "compose", set_name, options)


def texts(catalog: Catalog, set_name: str = "c") -> list[str | None]:
    found = dict(catalog.caption_texts("zoo", set_name).select("image_sha256", "text").iter_rows())
    return [found.get(sha(number)) for number in range(3)]


def test_it_follows_its_parents_image_by_image(catalog: Catalog) -> None:
    caption(catalog, "zoo", "fixed", "word", {"text": "drawing"}, where="name is not null")
    result = run(catalog, sets="word,t", add="group")
    assert texts(catalog) == ["drawing, a fox, wild", "drawing, a owl", None]
    assert result.without_caption == {"no caption in word, t": 1}
    add_images(catalog, "zoo", [{"name": "red fox", "group": "wild"}])
    caption(catalog, "zoo", "template", "t", {"template": "a ${name}"})
    result = run(catalog, sets="word,t", add="group")
    assert (result.changed, result.unchanged) == (1, 1)
    assert texts(catalog)[0] == "drawing, a red fox, wild"


def test_the_history_shows_its_parents_as_they_were(catalog: Catalog) -> None:
    commit(catalog, "zoo/t", "first")
    caption(catalog, "zoo", "fixed", "word", {"text": "drawing"}, where="name = 'owl'")
    run(catalog, sets="word,t@1")
    caption(catalog, "zoo", "template", "t", {"template": "the ${name}"})
    caption(catalog, "zoo", "fixed", "word", {"text": "sketch"})
    (made,) = [revision for revision in history(catalog, "0000.png").revisions if revision.set_name == "c"]
    assert [(source.set_name, source.number, source.text) for source in made.sources] == [
        ("t", 1, "a fox"),
        ("word", None, None),
    ]
    commit(catalog, "zoo/c", "first")
    run(catalog, sets="t")
    restore(catalog, "zoo/c@1")
    last = [revision for revision in history(catalog, "0001.png").revisions if revision.set_name == "c"][-1]
    assert [source.text for source in last.sources] == ["a owl", "drawing"]
    assert "t@1: a owl" in text_of_history(history(catalog, "0001.png"))


def test_a_caption_whose_parents_went_is_taken_out(catalog: Catalog) -> None:
    run(catalog, sets="t")
    add_images(catalog, "zoo", [{}])
    caption(catalog, "zoo", "template", "t", {"template": "a ${name}"})
    assert run(catalog, sets="t").taken_out == 1
    assert texts(catalog) == [None, "a owl", None]


def test_a_version_stays_what_it_was(catalog: Catalog) -> None:
    commit(catalog, "zoo/t", "first")
    caption(catalog, "zoo", "template", "t", {"template": "the ${name}"})
    run(catalog, sets="t@1,t", separator=" = ")
    assert texts(catalog)[:2] == ["a fox = the fox", "a owl = the owl"]


def test_a_template_may_name_captions_too(catalog: Catalog) -> None:
    caption(catalog, "zoo", "template", "loud", {"template": "${caption.t|upper}!"})
    assert texts(catalog, "loud") == ["A FOX!", "A OWL!", None]


def test_sets_cant_be_made_of_each_other_in_a_circle_but_for_versions(catalog: Catalog) -> None:
    caption(catalog, "zoo", "compose", "u", {"sets": "t"})
    caption(catalog, "zoo", "compose", "v", {"sets": "u", "prefix": "so "})
    before = texts(catalog, "u")
    with pytest.raises(BadOption) as error:
        caption(catalog, "zoo", "compose", "u", {"sets": "t,v"})
    assert "zoo/u would be composed of itself (u from v from u). Name a version, such as v@1" in str(error.value)
    assert texts(catalog, "u") == before
    commit(catalog, "zoo/v", "first")
    caption(catalog, "zoo", "compose", "u", {"sets": "v@1"})
    assert texts(catalog, "u")[0] == "so a fox"
    caption(catalog, "zoo", "compose", "v", {"sets": "t"})  # of u no more: the circle can't come about
    caption(catalog, "zoo", "compose", "u", {"sets": "v"})


def test_a_metadata_field_of_such_a_name_goes_before_a_set(catalog: Catalog) -> None:
    add_images(catalog, "zoo", [{"name": "fox", "caption.t": "own words"}])
    run(catalog, sets="t")
    assert texts(catalog)[0] == "own words"


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"sets": "nope"}, NotFound, "There is no caption set 'zoo/nope'. There are: zoo/c, zoo/t."),
        ({"sets": "t@3"}, NotFound, "zoo/t has no version yet"),
        ({"sets": "t,c"}, BadOption, "zoo/c can't be composed of its current self"),
        ({"sets": "other/t"}, BadOption, "'other/t' doesn't name a set"),
        ({"sets": "t,t"}, BadOption, "a set is named twice"),
        ({"sets": ""}, BadOption, "-o sets"),
        ({}, BadOption, "compose needs -o sets="),
        ({"sets": "t", "mode": "last"}, BadOption, "-o mode"),
        ({"sets": "t", "add": "grop"}, BadOption, "'grop'. Available fields: name, group"),
        ({"sets": "t", "tigger": "x"}, BadOption, "no option 'tigger'"),
    ],
)
def test_bad_options_say_what_there_is(
    catalog: Catalog, options: dict[str, str], kind: type[Exception], message: str
) -> None:
    run(catalog, sets="t")
    with pytest.raises(kind) as error:
        run(catalog, **options)
    assert message in str(error.value)
