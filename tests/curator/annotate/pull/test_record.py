"""Revisions in the catalog: the last caption of an image is the one that speaks for it, and history keeps the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curator.annotate.pull.record import Recorder
from curator.annotate.pull.revisions import Revision, Rule
from curator.catalog import Catalog
from tests.curator.lab import Lab

IMAGE, OTHER = "a" * 64, "b" * 64
PROJECT = {"project_key": "k1", "dataset": "zoo", "target_set": "human", "url": "http://ls", "label_studio_id": 5}


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    lab = Lab(tmp_path)
    made = lab.write()
    made.add_annotation_project("k1", "zoo", "human", "zoo/human", "me")
    yield made
    lab.close()


def revision(annotation: int, at: int, text: str = "a fox", outcome: str = "captioned", **other: Any) -> Revision:
    facts: dict[str, Any] = {
        "task_id": annotation,
        "annotation_id": annotation,
        "image_sha256": IMAGE,
        "outcome": outcome,
        "verdict": "good",
        "origin": "edited",
        "text": text,
        "lead_time_seconds": 1.5,
        "person": f"p{annotation}@x",
        "person_id": annotation,
        "model_version": "zoo/blip@1",
        "parent_caption_id": None,
        "answer": "[]",
        "created_at": f"2026-11-23T06:50:{at:02}.000000Z",
        "updated_at": f"2026-11-23T06:50:{at:02}.000000Z",
    }
    return Revision(**facts | other)


def write(catalog: Catalog, *revisions: Revision, rule: str = "latest", settle: tuple[str, ...] = ()) -> int:
    return Recorder(catalog, PROJECT, Rule.parse(rule), "me").write(revisions, None, settle)


def history(catalog: Catalog, image: str = IMAGE) -> list[str | None]:
    return [row["text"] for row in catalog.image_history(image).to_dicts()]


def test_of_one_page_what_speaks_is_written_last(catalog: Catalog) -> None:
    write(catalog, revision(1, 5, "one"), revision(2, 9, "two"), rule="reviewer=p1")
    assert history(catalog) == ["two", "one"]


def test_an_older_annotation_that_still_speaks_is_written_once_more(catalog: Catalog) -> None:
    write(catalog, revision(1, 5, "one"), rule="reviewer=p1")
    assert write(catalog, revision(2, 9, "two"), rule="reviewer=p1") == 0
    assert history(catalog) == ["one", "two", "one"]


def test_another_rule_decides_anew(catalog: Catalog) -> None:
    write(catalog, revision(1, 5, "one"), revision(2, 9, "two"))
    assert write(catalog, rule="reviewer=p1", settle=(IMAGE,)) == 1
    assert history(catalog) == ["one", "two", "one"]
    assert write(catalog, rule="reviewer=p1", settle=(IMAGE,)) == 0


def test_an_edit_that_takes_the_text_away_takes_the_caption_out(catalog: Catalog) -> None:
    write(catalog, revision(1, 5, "one"))
    write(catalog, revision(1, 6, "", "emptied"))
    assert history(catalog) == ["one", None] and catalog.answered_images("zoo", "human", "zoo/human").is_empty()


def test_an_image_rejected_keeps_its_caption_and_is_rejected(catalog: Catalog) -> None:
    write(
        catalog, revision(1, 5, "one", "rejected", verdict="reject"), revision(2, 5, "", "skipped", image_sha256=OTHER)
    )
    assert catalog.rejected_images("zoo") == [IMAGE] and history(catalog) == ["one"]
    write(catalog, revision(1, 6, "two"))
    assert catalog.rejected_images("zoo") == [] and history(catalog) == ["one", "two"]


def test_runs_say_who_and_from_what(catalog: Catalog) -> None:
    write(catalog, revision(1, 5, "one"), revision(2, 6, "two", image_sha256=OTHER))
    [row] = catalog.image_history(OTHER).to_dicts()
    assert (row["person"], row["strategy"], row["by_person"]) == ("p2@x", "annotate", True)
    assert '"proposed": "zoo/blip@1"' in row["options"] and '"rule": "latest"' in row["options"]
    assert row["captioned_at"] == "2026-11-23T06:50:06Z"


def test_all_of_a_page_or_nothing(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "reserve_revision_ids", lambda count: [1] * count)
    with pytest.raises(Exception, match="onstraint"):
        write(catalog, revision(1, 5), revision(2, 6, image_sha256=OTHER))
    assert history(catalog) == history(catalog, OTHER) == []
    assert catalog.annotation_counts("k1") == []


def test_a_later_rejection_without_a_caption_takes_the_others_out(catalog: Catalog) -> None:
    write(catalog, revision(1, 5, "one"), revision(2, 9, "", "rejected", verdict="reject"))
    assert history(catalog) == ["one", None] and catalog.rejected_images("zoo") == [IMAGE]
