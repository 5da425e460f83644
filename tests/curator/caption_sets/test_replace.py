"""A person's revisions: one caption, find and replace, undoing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.caption import caption
from curator.caption_sets.history import history
from curator.caption_sets.replace import replace, undo_replace
from curator.caption_sets.revise import Overtaken, inputs_digest, revise, undo
from curator.catalog import Catalog
from curator.cli import main
from schemas.digest import sha256_json
from schemas.errors import BadOption, NotFound
from tests.curator.fill import add_images, sha
from tests.curator.lab import new_catalog

FOX, OWL, YAK = sha(0), sha(1), sha(2)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with new_catalog(tmp_path / "lab.duckdb", fill) as opened:
        yield opened


def fill(catalog: Catalog) -> None:
    add_images(catalog, "zoo", [{"name": "fox"}, {"name": "owl"}, {"name": "yak"}])
    caption(catalog, "zoo", "template", "t", {"template": "a grey ${name}, grey"})


def texts(catalog: Catalog) -> dict[str, str]:
    rows = catalog.caption_texts("zoo", "t").select("image_sha256", "text").iter_rows()
    return {{FOX: "fox", OWL: "owl", YAK: "yak"}[image]: text for image, text in rows}


def last_id(catalog: Catalog, image: str) -> int:
    rows = catalog.captions_of_image("zoo", image)
    return int(rows.filter(rows["set_name"] == "t")["caption_id"][0])


def test_a_persons_revision_stays_whatever_a_strategy_says_later(catalog: Catalog) -> None:
    seen = last_id(catalog, FOX)
    result = revise(catalog, "zoo", "t", FOX, " a red\nfox ", "ana", expected=seen)
    assert (result.text, result.person, result.unchanged) == ("a red fox", "ana", False)
    caption(catalog, "zoo", "template", "t", {"template": "a ${name}"}, only="all")
    assert texts(catalog) == {"fox": "a red fox", "owl": "a owl", "yak": "a yak"}
    mine = [one for one in history(catalog, FOX).revisions if one.current]
    assert [(one.strategy, one.by_person, one.person, one.parent_id) for one in mine] == [("edit", True, "ana", seen)]


def test_the_same_again_is_nothing_new_and_a_strategys_text_can_be_accepted(catalog: Catalog) -> None:
    accepted = revise(catalog, "zoo", "t", FOX, "a grey fox, grey", "ana")
    assert not accepted.unchanged
    again = revise(catalog, "zoo", "t", FOX, "a grey fox, grey", "ana")
    assert again.unchanged and again.caption_id == accepted.caption_id
    assert not revise(catalog, "zoo", "t", FOX, "a grey fox, grey", "ben").unchanged


def test_who_has_seen_an_older_caption_overwrites_nothing(catalog: Catalog) -> None:
    seen = last_id(catalog, FOX)
    revise(catalog, "zoo", "t", FOX, "ben's", "ben", expected=seen)
    with pytest.raises(Overtaken, match=r"zoo/t, 0000.png: changed meanwhile by ben at 20"):
        revise(catalog, "zoo", "t", FOX, "ana's", "ana", expected=seen)
    with pytest.raises(Overtaken):
        revise(catalog, "zoo", "t", FOX, "ana's", "ana", expected="none")
    assert texts(catalog)["fox"] == "ben's"
    assert revise(catalog, "zoo", "new", FOX, "first", "ana", expected="none").text == "first"


def test_of_many_at_once_one_comes_through(catalog: Catalog) -> None:
    seen = last_id(catalog, FOX)

    def attempt(number: int) -> str | None:
        try:
            return revise(catalog, "zoo", "t", FOX, f"text {number}", "ana", expected=seen).text
        except Overtaken:
            return None

    with ThreadPoolExecutor(8) as pool:
        won = [text for text in pool.map(attempt, range(8)) if text]
    assert won == [texts(catalog)["fox"]]


@pytest.mark.parametrize(
    ("arguments", "error", "problem"),
    [
        (("zoo", "T T", FOX, "x"), BadOption, "a set's name"),
        (("zoo", "t", "0" * 64, "x"), NotFound, "zoo has no image 000000000000"),
        (("farm", "t", FOX, "x"), NotFound, "no dataset 'farm'"),
        (("zoo", "t", FOX, "x" * 10_001), BadOption, "10,001 characters"),
    ],
)
def test_what_cannot_be_revised(
    catalog: Catalog, arguments: tuple[str, str, str, str], error: type[Exception], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        revise(catalog, *arguments)


def test_the_digest_is_that_of_canonical_json() -> None:
    told = {"strategy": "replace", "run": 12, "image": FOX}
    assert inputs_digest("replace", 12, FOX) == sha256_json(told)


def test_replace_shows_first_then_changes_and_can_be_undone(catalog: Catalog) -> None:
    before = texts(catalog)
    shown = replace(catalog, "zoo/t", "grey", "gray", dry_run=True)
    assert (shown.changed, shown.run_id, texts(catalog)) == (3, None, before)
    done = replace(catalog, "zoo/t", "grey", "gray", person="ana")
    assert done.changes == shown.changes and done.changed == 3
    assert texts(catalog)["fox"] == "a gray fox, gray"
    revise(catalog, "zoo", "t", OWL, "mine", "ben")
    undone = undo_replace(catalog, "zoo/t", None, "ana")
    assert (undone.run_id, undone.restored, undone.left) == (done.run_id, 2, 1)
    assert texts(catalog) == before | {"owl": "mine"}
    with pytest.raises(NotFound, match="no replace to undo"):
        undo_replace(catalog, "zoo/t", None)
    # Whose they are again: a later run of the strategy may replace them.
    caption(catalog, "zoo", "template", "t", {"template": "a ${name}"}, only="all")
    assert texts(catalog) == {"fox": "a fox", "owl": "mine", "yak": "a yak"}


def test_undoing_a_first_caption_takes_it_out(catalog: Catalog) -> None:
    revise(catalog, "zoo", "new", FOX, "first", "ana")
    run_id = int(catalog.captions_of_image("zoo", FOX).filter(set_name="new")["run_id"][0])
    assert undo(catalog, "zoo/new", run_id, "ana").restored == 1
    assert catalog.caption_texts("zoo", "new").is_empty()
    with pytest.raises(NotFound, match="no captions by a person's run 1"):
        undo(catalog, "zoo/t", 1)


def test_regular_expressions_case_and_conditions(catalog: Catalog) -> None:
    found = replace(catalog, "t", r"(\w+), (\w+)", "$2 ${1}$$", regex=True, where="name = 'fox'", person="ana")
    assert (found.captions, texts(catalog)["fox"]) == (1, "a grey grey fox$")
    assert replace(catalog, "t", "GREY", "x", dry_run=True).changed == 0
    assert replace(catalog, "t", "GREY", "$1", ignore_case=True, person="ana").changed == 3
    assert texts(catalog)["owl"] == "a $1 owl, $1"
    assert replace(catalog, "t", ".", "x", dry_run=True).changed == 0


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ({"find": "(", "replacement": "", "regex": True}, "not a supported regular expression"),
        ({"find": r"(a)\1", "replacement": "", "regex": True}, "backreferences are not supported"),
        ({"find": "", "replacement": "x"}, "--find: give the text"),
        ({"find": "a", "replacement": "x" * 10_001}, "--with: a caption would have"),
    ],
)
def test_what_cannot_be_replaced(catalog: Catalog, how: dict[str, str], problem: str) -> None:
    with pytest.raises(BadOption, match=problem):
        replace(catalog, "t", **how)  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=12), min_size=1, max_size=4),
    st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=3),
    st.text("ab $1{}\\", max_size=5),
)
def test_plain_text_is_replaced_as_python_does(captions: list[str], find: str, replacement: str) -> None:
    import polars as pl

    from curator.caption_sets.replace import _replaced
    from curator.text.one_line import text_on_one_line

    expected = pl.DataFrame({"text": [caption.replace(find, replacement) for caption in captions]})
    assert _replaced(pl.Series(captions), find, replacement, False, False).to_list() == (
        expected.select(text_on_one_line())["text"].to_list()
    )


def test_the_command(catalog: Catalog, tmp_path: Path) -> None:
    catalog.close()
    run = CliRunner()

    def curator(*arguments: str) -> str:
        answer = run.invoke(main, ["replace", "zoo/t", *arguments, "--catalog", str(tmp_path / "lab.duckdb")])
        assert answer.exit_code == 0, answer.output
        return answer.output

    shown = curator("--find", "grey", "--with", "gray", "--dry-run", "--limit", "1")
    assert "3 captions of 3 would change" in shown and "[-grey-]{+gray+}" in shown and "and 2 more" in shown
    done = json.loads(curator("--find", "grey", "--with", "gray", "--json"))
    assert done["changed"] == 3
    assert "3 captions restored" in curator("--undo", str(done["run_id"]))
    wrong = run.invoke(main, ["replace", "zoo/t", "--find", "x"])
    assert wrong.exit_code == 2 and "Give --find and --with, or --undo." in wrong.output
