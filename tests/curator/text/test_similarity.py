"""Token F1 and edit distance of many pairs, against their definitions written plainly."""

from __future__ import annotations

import re
from collections import Counter

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.text import similarity
from curator.text.similarity import edit_distance, edit_share, token_f1
from curator.text.words import words

TEXT = st.text(alphabet="ab é-'’,.A\n", max_size=12)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=8)


def plain_f1(first: str, second: str) -> float:
    pattern = r"[^\W_]+(?:['’-][^\W_]+)*"
    one, other = (Counter(re.findall(pattern, text.lower())) for text in (first, second))
    total = one.total() + other.total()
    return 2 * (one & other).total() / total if total else 1.0


def plain_distance(first: str, second: str) -> int:
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(second, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


@given(PAIRS)
@settings(deadline=None)
def test_they_are_their_definitions(pairs: list[tuple[str, str]]) -> None:
    left, right = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    assert token_f1(left, right).to_list() == pytest.approx([plain_f1(*pair) for pair in pairs])
    assert edit_distance(left, right).to_list() == [plain_distance(*pair) for pair in pairs]


def test_examples_that_can_be_checked_by_hand() -> None:
    first = ["A red fox!", "a a a b", "", "", "fox"]
    second = ["fox, red a", "a b b c", "", "owl", "owl"]
    assert token_f1(first, second).to_list() == [1.0, 0.5, 1.0, 0.0, 0.0]
    assert edit_distance(["kitten", "", "né"], ["sitting", "", "ne"]).to_list() == [3, 0, 1]
    assert edit_share(["kitten", "", ""], ["sitting", "", "ab"]).to_list() == [3 / 7, 0.0, 1.0]


def test_pieces_join(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = ["a b", "a", "b", "c d", "e"], ["a", "a", "c", "d", "f"]
    whole = token_f1(first, second).to_list()
    monkeypatch.setattr(similarity, "PAIRS_A_PIECE", 2)
    assert token_f1(first, second).to_list() == whole == [2 / 3, 1.0, 0.0, 2 / 3, 0.0]


def test_sides_of_different_length_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="2 captions against 1"):
        token_f1(["a", "b"], ["a"])


def test_words_are_numbered_in_reading_order() -> None:
    found = words(pl.Series(["An owl's nest, an OWL", "", "nest"]))
    assert found.vocabulary.to_list() == ["an", "owl's", "nest", "owl"]
    assert (found.ids.tolist(), found.starts.tolist()) == ([0, 1, 2, 0, 3, 2], [0, 5, 5, 6])
    assert found.rows.tolist() == [0, 0, 0, 0, 0, 2]
