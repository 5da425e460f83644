"""What of an answer becomes the caption."""

from __future__ import annotations

import pytest

from curator.captioners.model.answer import NOTHING, ONLY_THOUGHT, Unfinished, parse_answer


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("  A cat.\n", "A cat."),
        ("<think>A cat?\nYes.</think>\nA cat", "A cat"),
        ("It looks like one. </think> A cat", "A cat"),  # the template had opened the thought
    ],
)
def test_thoughts_and_blanks_are_no_caption(answer: str, text: str) -> None:
    assert parse_answer(answer, False, "fail", "n=9") == (text, None)


@pytest.mark.parametrize(
    ("answer", "cut", "reason"),
    [("", False, NOTHING), ("", True, NOTHING), ("<think>Hm", True, ONLY_THOUGHT), ("Hm.</think>", True, ONLY_THOUGHT)],
)
def test_nothing_is_no_caption(answer: str, cut: bool, reason: str) -> None:
    assert parse_answer(answer, cut, "keep", "n=9") == (None, reason)


@pytest.mark.parametrize(
    ("answer", "unfinished", "text", "reason"),
    [
        ("A cat. A do", "keep", "A cat. A do", None),
        ("A cat. A do", "fail", None, "cut off at n=9"),
        ("A cat. A do", "sentence", "A cat.", None),
        ('He said "Hi!" and 3.5 kg of', "sentence", 'He said "Hi!"', None),
        ("猫。犬がい", "sentence", "猫。", None),
        ("A cat at 3.5 m", "sentence", None, "cut off at n=9 before a sentence ended"),
    ],
)
def test_an_answer_that_was_cut_off(answer: str, unfinished: Unfinished, text: str | None, reason: str | None) -> None:
    assert parse_answer(answer, True, unfinished, "n=9") == (text, reason)
