"""What each person did, where they disagree, and settling it."""

from __future__ import annotations

from typing import Any

import pytest

from curator.annotate.disagreements import Disagreement, disagreements, settle
from curator.caption_sets.revise import Overtaken
from curator.catalog import Catalog
from curator.datasets.image import image_captions
from schemas.errors import BadOption, NotFound
from tests.curator.annotate.pull import test_record
from tests.curator.annotate.pull.test_record import IMAGE, OTHER, revision, write

catalog = test_record.catalog


def one(catalog: Catalog) -> Disagreement:
    (found,) = disagreements(catalog, "zoo", "human")
    return found


def now(catalog: Catalog) -> Any:
    (caption,) = image_captions(catalog, "zoo", IMAGE)
    return caption


def test_people_by_what_they_answered(catalog: Catalog) -> None:
    write(
        catalog,
        revision(1, 5, "a fox", lead_time_seconds=4.0),
        revision(2, 6, "a wolf", person="p1@x", image_sha256=OTHER, lead_time_seconds=8.0),
        revision(3, 7, "", "rejected", image_sha256=OTHER),
        revision(4, 8, "", "skipped", person="p3@x"),
    )
    first, second = catalog.annotation_progress("k1")
    assert first == {
        "person": "p1@x", "tasks": 2, "accepted": 0, "edited": 2, "rejected": 0, "without_caption": 0,
        "median_seconds": 6.0, "last_at": "2026-11-23T06:50:06Z",
    }  # fmt: skip
    assert (second["person"], second["tasks"], second["rejected"], second["without_caption"]) == ("p3@x", 2, 1, 1)


def test_only_the_caption_that_was_proposed_is_accepted(catalog: Catalog) -> None:
    write(catalog, revision(1, 5, "a fox"))
    proposed = now(catalog).caption_id
    write(catalog, revision(2, 6, "a fox", parent_caption_id=proposed), revision(3, 7, "x", parent_caption_id=proposed))
    counts = {row["person"]: (row["accepted"], row["edited"]) for row in catalog.annotation_progress("k1")}
    assert counts == {"p1@x": (0, 1), "p2@x": (1, 0), "p3@x": (0, 1)}


def test_last_answers_that_differ_are_to_settle_and_say_which_counts(catalog: Catalog) -> None:
    write(catalog, revision(1, 5, "one"), revision(2, 9, "two"), revision(3, 6, "same", image_sha256=OTHER))
    write(catalog, revision(4, 7, "same", image_sha256=OTHER))
    found = one(catalog)
    assert (found.image_sha256, found.caption_id) == (IMAGE, now(catalog).caption_id)
    assert [(said.person, said.text, said.counts) for said in found.said] == [
        ("p1@x", "one", False), ("p2@x", "two", True)
    ]  # fmt: skip
    write(catalog, revision(1, 10, "two"))
    assert disagreements(catalog, "zoo", "human") == []


def test_a_rejection_differs_from_a_caption(catalog: Catalog) -> None:
    write(catalog, revision(1, 5, "one"), revision(2, 9, "", "rejected"))
    found = one(catalog)
    assert [said.outcome for said in found.said] == ["captioned", "rejected"] and found.alike == 0


def test_of_two_answers_at_the_same_moment_the_one_that_came_last_is_a_persons_last(catalog: Catalog) -> None:
    write(catalog, revision(1, 5, "one"), revision(2, 5, "two"), revision(3, 5, "three", person="p1@x"))
    assert catalog.captions_by_person("zoo", "human")["text"].to_list() == ["three", "two"]
    assert [(said.person, said.text) for said in one(catalog).said] == [("p1@x", "three"), ("p2@x", "two")]
    write(catalog, revision(4, 5, "", "rejected", person="p1@x"))
    assert [(said.outcome, said.text) for said in one(catalog).said] == [("rejected", ""), ("captioned", "two")]


@pytest.mark.parametrize("text", ["one", "two"])
def test_settled_by_taking_either_until_somebody_answers_anew(catalog: Catalog, text: str) -> None:
    write(catalog, revision(1, 5, "one"), revision(2, 9, "two"))
    settle(catalog, "zoo", "human", IMAGE, text, one(catalog).caption_id, "p2@x")
    assert (now(catalog).text, now(catalog).strategy, now(catalog).person) == (text, "settle", "p2@x")
    assert disagreements(catalog, "zoo", "human") == []
    with pytest.raises(NotFound, match="nothing to settle"):
        settle(catalog, "zoo", "human", IMAGE, text, now(catalog).caption_id, "p2@x")
    write(catalog, revision(1, 12, "three"))
    assert one(catalog).caption_id == now(catalog).caption_id


def test_not_over_what_wasnt_looked_at_and_not_by_nothing(catalog: Catalog) -> None:
    write(catalog, revision(1, 5, "one"), revision(2, 9, "two"))
    with pytest.raises(Overtaken):
        settle(catalog, "zoo", "human", IMAGE, "one", None, "me")
    with pytest.raises(BadOption, match='nobody wrote ""'):
        settle(catalog, "zoo", "human", IMAGE, " ", one(catalog).caption_id, "me")
    assert now(catalog).text == "two"


def test_only_what_one_of_the_people_wrote_settles(catalog: Catalog) -> None:
    write(catalog, revision(1, 5, "one"), revision(2, 9, "two"), revision(4, 9, "two", person="p4@x"))
    said = r'zoo/human, .*: nobody wrote "three" on it\. Take "one" \(p1@x\), or "two" \(p2@x, p4@x\); for'
    with pytest.raises(BadOption, match=said):
        settle(catalog, "zoo", "human", IMAGE, "three", one(catalog).caption_id, "me")
    assert now(catalog).text == "two"
    settle(catalog, "zoo", "human", IMAGE, " one\n", one(catalog).caption_id, "me")
    assert now(catalog).text == "one"
