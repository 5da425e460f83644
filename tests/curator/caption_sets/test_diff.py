"""Differences of versions, and of captions word by word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.caption import caption
from curator.caption_sets.diff import diff, word_operations
from curator.caption_sets.versions import commit
from curator.catalog import Catalog
from schemas.errors import BadOption
from tests.curator.fill import add_images
from tests.curator.lab import new_catalog


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with new_catalog(tmp_path / "lab.duckdb", fill) as opened:
        yield opened


def fill(catalog: Catalog) -> None:
    """Version 1 has fox, owl and bat, version 2 fox, red owl and elk, and the set is version 2 with a changed fox."""
    for message, names in [("one", ["fox", "owl", "bat", ""]), ("two", ["fox", "red owl", "", "elk"])]:
        add_images(catalog, "zoo", [{"name": name} for name in names])
        caption(catalog, "zoo", "template", "t", {"template": "a ${name}"})
        commit(catalog, "t", message)
    add_images(catalog, "zoo", [{"name": "big fox"}])
    caption(catalog, "zoo", "template", "t", {"template": "a ${name}"})


def test_added_removed_and_changed(catalog: Catalog) -> None:
    result = diff(catalog, "t@1", "t@2")
    assert (result.added, result.removed, result.changed, result.unchanged) == (1, 1, 1, 1)
    assert [(change.kind, change.file_name, change.before, change.after) for change in result.changes] == [
        ("changed", "0001.png", "a owl", "a red owl"),
        ("added", "0003.png", None, "a elk"),
        ("removed", "0002.png", "a bat", None),
    ]
    assert [(word.op, word.text) for word in result.changes[0].words] == [
        ("equal", "a "),
        ("insert", "red "),
        ("equal", "owl"),
    ]


def test_the_other_way_round(catalog: Catalog) -> None:
    result = diff(catalog, "t@2", "t@1")
    assert (result.added, result.removed, result.changed, result.unchanged) == (1, 1, 1, 1)


def test_without_a_second_side_it_is_the_set_as_it_is_now(catalog: Catalog) -> None:
    for reference in ("t", "t@2"):
        result = diff(catalog, reference)
        assert (result.before, result.after, result.changed, result.unchanged) == ("zoo/t@2", "zoo/t", 1, 2)
    assert diff(catalog, "t@1").changed == 2


def test_counts_are_complete_whatever_the_limit(catalog: Catalog) -> None:
    result = diff(catalog, "t@1", "t@2", limit=1)
    assert (result.added, result.removed, result.changed, len(result.changes), result.left_off) == (1, 1, 1, 1, 2)
    assert diff(catalog, "t@1", "t@2", limit=0).changes == []


def test_two_sets(catalog: Catalog) -> None:
    caption(catalog, "zoo", "empty", "e")
    result = diff(catalog, "t@1", "e")
    assert (result.changed, result.added, result.unchanged) == (3, 1, 0)
    assert diff(catalog, "e", "e").unchanged == 4


def test_a_set_without_a_version_has_nothing_to_compare_with(catalog: Catalog) -> None:
    caption(catalog, "zoo", "empty", "e")
    with pytest.raises(BadOption, match="no version to compare with"):
        diff(catalog, "e")


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_operations_give_both_captions_back(before: str, after: str) -> None:
    found = word_operations(before, after)
    assert "".join(word.text for word in found if word.op != "insert") == before
    assert "".join(word.text for word in found if word.op != "delete") == after
    assert all(word.text for word in found)


def test_blanks_between_changes_are_changed_with_them() -> None:
    found = [(word.op, word.text) for word in word_operations("a big red fox", "a small blue fox")]
    assert found == [("equal", "a "), ("delete", "big red"), ("insert", "small blue"), ("equal", " fox")]


@settings(max_examples=50, deadline=None)
@given(st.text("ab ,", max_size=40), st.text("ab ,", max_size=40))
def test_long_captions_give_both_back_too(before: str, after: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curator.caption_sets.diff.MAX_PAIRS", -1)
        found = word_operations(before, after)
    assert "".join(word.text for word in found if word.op != "insert") == before
    assert "".join(word.text for word in found if word.op != "delete") == after


def test_a_word_changed_in_a_long_caption_is_that_word() -> None:
    words = [f"word{number}" for number in range(1_500)]
    before, after = " ".join(words), " ".join([*words[:700], "other", *words[701:]])
    assert [(one.op, one.text) for one in word_operations(before, after) if one.op != "equal"] == [
        ("delete", "word700"), ("insert", "other")
    ]  # fmt: skip
