"""What a pull makes of a task: revisions and their outcomes; which annotation speaks for an image."""

from __future__ import annotations

from typing import Any

import pytest

from curator.annotate.label_studio.http import LabelStudioFailed
from curator.annotate.pull.revisions import REMOVED, Revision, Rule, exact, is_caption, revisions_of
from schemas.errors import BadOption

IMAGE = "a" * 64
PEOPLE = {3: "ana@example.org", 4: "ben@example.org"}
AT = "2026-11-23T06:50:32.123456Z"


def annotation(text: str | None = "a fox", verdict: str | None = "good", **other: Any) -> dict[str, Any]:
    result = [] if text is None else [_item("final_caption", "textarea", {"text": [text]}, "prediction")]
    result += [_item("verdict", "choices", {"choices": [verdict]})] if verdict else []
    raw = {"id": 21, "result": result, "completed_by": 3, "was_cancelled": False, "created_at": AT, "updated_at": AT}
    return raw | {"lead_time": 2.5, "parent_prediction": 9, "updated_by": None} | other


def _item(name: str, kind: str, value: dict[str, Any], origin: str = "manual") -> dict[str, Any]:
    return {"from_name": name, "to_name": "image", "type": kind, "value": value, "origin": origin}


def seen(*annotations: dict[str, Any], known: dict[int, Any] | None = None, at: str = AT) -> list[Revision]:
    proposed = _item("final_caption", "textarea", {"text": ["a fox"]})
    predictions = [{"id": 9, "model_version": "zoo/blip@1", "result": [proposed]}]
    task = {"id": 11, "updated_at": at, "annotations": list(annotations), "predictions": predictions}
    return revisions_of(task, IMAGE, known or {}, lambda version, image: 77, PEOPLE.get)


def known(revision: Revision) -> dict[int, Any]:
    return {revision.annotation_id: vars(revision)}


def test_an_annotation_is_attributed() -> None:
    [found] = seen(annotation("a red fox", "fixed"))
    assert (found.outcome, found.origin, found.verdict, found.text) == ("captioned", "edited", "fixed", "a red fox")
    assert (found.person, found.person_id, found.lead_time_seconds) == ("ana@example.org", 3, 2.5)
    assert (found.model_version, found.parent_caption_id, found.updated_at) == ("zoo/blip@1", 77, AT)


def test_what_is_known_is_passed_over_and_an_edit_is_not() -> None:
    [first] = seen(annotation())
    assert seen(annotation(), known=known(first)) == []
    [second] = seen(annotation("b", updated_at="2026-11-23T06:51:00Z", updated_by=4), known=known(first))
    assert (second.text, second.person, second.updated_at) == ("b", "ben@example.org", "2026-11-23T06:51:00.000000Z")


@pytest.mark.parametrize(
    ("raw", "outcome", "captions"),
    [
        (annotation(), "captioned", True),
        (annotation(None, "good"), "emptied", False),
        (annotation("", "good"), "emptied", False),
        (annotation("  \n ", None), "emptied", False),
        (annotation(None, None), "emptied", False),
        (annotation("a fox", None, was_cancelled=True), "skipped", False),
        (annotation("a fox", "reject", was_cancelled=True), "skipped", False),
        (annotation("a fox", "reject"), "rejected", True),
        (annotation("", "reject"), "rejected", False),
        (annotation(None, None, result=[_item("words", "textarea", {"text": ["x"]})]), "unreadable", False),
    ],
)
def test_each_kind_of_answer_has_its_outcome(raw: dict[str, Any], outcome: str, captions: bool) -> None:
    [found] = seen(raw)
    assert (found.outcome, is_caption(vars(found))) == (outcome, captions)


def test_an_annotation_that_is_gone_was_deleted_once() -> None:
    [first] = seen(annotation())
    [gone] = seen(known=known(first), at="2026-11-23T07:00:00Z")
    assert (gone.outcome, gone.text, gone.person) == ("deleted", "a fox", "ana@example.org")
    assert gone.updated_at == "2026-11-23T07:00:00.000000Z" and not is_caption(vars(gone))
    assert seen(known=known(gone)) == []
    [back] = seen(annotation(), known=known(gone))
    assert back.outcome == "captioned"


def test_somebody_removed_keeps_the_name_last_known() -> None:
    [first] = seen(annotation())
    edited = {"updated_at": "2026-11-23T06:52:00Z"}
    assert seen(annotation(completed_by=None, **edited), known=known(first))[0].person == "ana@example.org"
    assert seen(annotation(completed_by=None))[0].person == REMOVED
    assert seen(annotation(completed_by=99))[0].person == "Label Studio user 99"


def test_a_proposal_that_is_gone_is_remembered() -> None:
    [first] = seen(annotation())
    [second] = seen(annotation(parent_prediction=None, updated_at="2026-11-23T06:52:00Z"), known=known(first))
    assert (second.model_version, second.parent_caption_id) == ("zoo/blip@1", 77)


@pytest.mark.parametrize("lacking", ["result", "completed_by", "updated_at", "parent_prediction"])
def test_an_answer_that_lacks_something_is_an_error(lacking: str) -> None:
    raw = annotation()
    del raw[lacking]
    with pytest.raises(LabelStudioFailed, match=lacking):
        seen(raw)


def test_a_task_without_its_annotations_is_an_error_not_a_deletion() -> None:
    [first] = seen(annotation())
    with pytest.raises(LabelStudioFailed, match="no annotations"):
        revisions_of({"id": 11, "updated_at": AT}, IMAGE, known(first), lambda version, image: None, PEOPLE.get)


@pytest.mark.parametrize(
    ("told", "written"),
    [
        ("2026-11-23T06:50:32Z", "2026-11-23T06:50:32.000000Z"),
        ("2026-11-23T06:50:32.5Z", "2026-11-23T06:50:32.500000Z"),
        ("2026-11-23T07:50:32.123456+01:00", "2026-11-23T06:50:32.123456Z"),
    ],
)
def test_times_are_written_in_the_one_form_filters_take(told: str, written: str) -> None:
    assert exact(told) == written


def row(person: str, at: int, outcome: str = "captioned") -> dict[str, Any]:
    return {"person": person, "updated_at": f"2026-11-23T06:50:{at:02}.000000Z", "outcome": outcome, "revision_id": at}


def test_the_rule_picks_among_those_that_can_speak() -> None:
    rows = [row("ana@x", 1), row("ben@x", 2), row("cid@x", 3, "skipped"), row("ana@x", 4, "deleted")]
    assert Rule().pick(rows) == rows[1]
    assert Rule("ana").pick(rows) == rows[0] == Rule("ANA@x").pick(rows)
    assert Rule("cid").pick(rows) == rows[1]
    assert Rule().pick(rows[2:]) is None


@pytest.mark.parametrize("text", ["latest", "reviewer=ana"])
def test_a_rule_is_written_as_it_is_read(text: str) -> None:
    assert str(Rule.parse(text)) == text


@pytest.mark.parametrize("text", ["", "first", "reviewer", "reviewer= "])
def test_another_rule_is_refused(text: str) -> None:
    with pytest.raises(BadOption, match="--pick"):
        Rule.parse(text)
