"""What the catalog keeps of Label Studio: each query does what its method says; a page is all or nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from curator.catalog import Catalog
from curator.catalog.annotations import PushRecord
from tests.curator.lab import Lab

PROJECT = {"project_key": "k1", "dataset": "zoo", "target_set": "human"}
RUNS = {
    "run_id": pl.Int64,
    "strategy": pl.String,
    "strategy_version": pl.Int32,
    "options": pl.String,
    "person": pl.String,
}
CAPTIONS = {
    "caption_id": pl.Int64,
    "image_sha256": pl.String,
    "text": pl.String,
    "inputs_digest": pl.String,
    "parent_id": pl.Int64,
    "run_id": pl.Int64,
    "captioned_at": pl.String,
}
REVISIONS = {
    "revision_id": pl.Int64,
    "task_id": pl.Int64,
    "annotation_id": pl.Int64,
    "image_sha256": pl.String,
    "outcome": pl.String,
    "verdict": pl.String,
    "origin": pl.String,
    "text": pl.String,
    "lead_time_seconds": pl.Float64,
    "person": pl.String,
    "person_id": pl.Int64,
    "model_version": pl.String,
    "parent_caption_id": pl.Int64,
    "caption_id": pl.Int64,
    "answer": pl.String,
    "created_at": pl.String,
    "updated_at": pl.String,
}
CHOICES = {"image_sha256": pl.String, "revision_id": pl.Int64, "verdict": pl.String}
TIME = "2026-11-23T06:50:32.000000Z"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


def page(
    catalog: Catalog,
    revisions: list[dict[str, Any]] = [],  # noqa: B006
    captions: list[dict[str, Any]] = [],  # noqa: B006
    gone: list[int] = [],  # noqa: B006
    watermark: str | None = TIME,
) -> None:
    runs = [{"run_id": 7, "strategy": "annotate", "strategy_version": 1, "options": "{}", "person": "ana@x"}]
    choices = [
        {"image_sha256": r["image_sha256"], "revision_id": r["revision_id"], "verdict": r["verdict"]} for r in revisions
    ]
    frames = {
        "runs": pl.DataFrame(runs if captions else [], schema=RUNS),
        "captions_made": pl.DataFrame(captions, schema=CAPTIONS),
        "revisions": pl.DataFrame(revisions, schema=REVISIONS),
        "choices": pl.DataFrame(choices, schema=CHOICES),
        "gone_tasks": pl.DataFrame({"task_id": gone}, schema={"task_id": pl.Int64}),
    }
    catalog.add_annotation_page(PROJECT, frames, "latest", watermark, False, {"new": len(revisions)}, "me")


def revision(revision_id: int, image: str, **other: Any) -> dict[str, Any]:
    return {
        "revision_id": revision_id,
        "task_id": 11,
        "annotation_id": 21,
        "image_sha256": image,
        "outcome": "captioned",
        "verdict": "good",
        "text": "a fox",
        "person": "ana@x",
        "person_id": 3,
        "answer": "[]",
        "created_at": TIME,
        "updated_at": TIME,
    } | other


def push_of(catalog: Catalog, **other: Any) -> PushRecord:
    known = {
        "push_id": catalog.reserve_annotation_push(),
        "project_key": "k1",
        "url": "http://ls",
        "label_studio_id": 5,
    }
    sent = {
        "model_version": "zoo/blip@1",
        "condition": None,
        "image_limit": 76,
        "config_sha256": "c",
        "images_url": "http://i",
    }
    return PushRecord.model_validate(known | sent | {"person": "me"} | other)


def test_a_project_is_told_with_its_last_push_and_pull(lab: Lab) -> None:
    catalog = lab.write()
    catalog.add_annotation_project("k0", "zoo", "human", "zoo/human", "me")
    catalog.add_annotation_project("k1", "zoo", "human", "zoo/human", "me")
    push = push_of(catalog)
    catalog.add_annotation_push(push, False, {})
    assert catalog.annotation_projects()["done"].to_list() == [None, False]
    catalog.add_annotation_push(push, True, {"tasks": 3})
    page(catalog)
    old, new = catalog.annotation_projects().to_dicts()
    assert (old["current"], old["push_id"], old["watermark"]) == (False, None, None)
    assert (new["current"], new["done"], new["image_limit"], new["label_studio_id"]) == (True, True, 76, 5)
    assert (new["watermark"], new["rule"], new["swept_at"]) == (TIME, "latest", None)


def test_tasks_are_as_last_written_and_a_pull_marks_those_that_are_gone(lab: Lab) -> None:
    catalog = lab.write()
    row = {
        "task_id": 11,
        "image_sha256": "a" * 64,
        "data_digest": "d1",
        "images_url": "http://i",
        "images_key": "x",
        "expires_at": "2027-02-21T00:00:00Z",
        "model_version": "zoo/blip@1",
        "gone": False,
    }
    catalog.add_annotation_tasks("k1", 1, pl.DataFrame([row, row | {"task_id": 12}]))
    catalog.add_annotation_tasks("k1", 2, pl.DataFrame([row | {"data_digest": "d2"}]))
    page(catalog, gone=[12])
    found = catalog.annotation_tasks("k1")
    assert found.select("task_id", "data_digest", "gone").rows() == [(11, "d2", False), (12, "d1", True)]
    assert found["expires_at"].to_list() == ["2027-02-21T00:00:00Z"] * 2


def test_a_page_adds_captions_revisions_and_choices(lab: Lab) -> None:
    fox = lab.add("fox.png", 1)
    lab.caption("blip", {fox: "a dog"})
    catalog = lab.write()
    catalog.add_annotation_project("k1", "zoo", "human", "zoo/human", "me")
    [caption_id], [revision_id] = catalog.reserve_caption_ids(1), catalog.reserve_revision_ids(1)
    parent = catalog.caption_texts("zoo", "blip")["caption_id"].item()
    made = {"caption_id": caption_id + 100, "image_sha256": fox, "text": "a fox", "inputs_digest": "x"}
    made |= {"parent_id": parent, "run_id": 7, "captioned_at": TIME}
    seen = revision(revision_id, fox, caption_id=caption_id + 100, parent_caption_id=parent, lead_time_seconds=2.5)
    page(catalog, [seen | {"model_version": "zoo/blip@1"}], [made])
    assert catalog.caption_texts("zoo", "human")["text"].to_list() == ["a fox"]
    assert catalog.current_captions("zoo", "human")["by_person"].to_list() == [True]
    [row] = catalog.annotations_of_tasks("k1", pl.DataFrame({"task_id": [11]})).to_dicts()
    assert (row["updated_at"], row["person_id"], row["caption_id"]) == (TIME, 3, caption_id + 100)
    assert catalog.annotation_people("k1") == {3: "ana@x"}
    assert catalog.proposals("zoo").select("strategy", "proposed", "text").rows() == [("fixed", "a dog", "a fox")]
    rows = pl.DataFrame({"image_sha256": [fox]})
    assert catalog.choices_of_images("zoo", "human", rows)["revision_id"].to_list() == [revision_id]
    assert catalog.annotations_of_images("zoo", "human", rows).height == 1
    assert catalog.answered_images("zoo", "human", "zoo/human").rows() == [(fox, "good")]
    assert catalog.annotation_counts("k1")[0]["annotations"] == 1


def test_the_last_revision_of_an_annotation_holds_and_several_people_contest(lab: Lab) -> None:
    catalog = lab.write()
    catalog.add_annotation_project("k1", "zoo", "human", "zoo/human", "me")
    page(catalog, [revision(1, "a", text="one"), revision(2, "a", annotation_id=22, person="ben@x", text="two")])
    assert catalog.contested_images("zoo", "human")["image_sha256"].to_list() == ["a"]
    assert catalog.captions_by_person("zoo", "human").select("person", "text").rows() == [
        ("ana@x", "one"),
        ("ben@x", "two"),
    ]
    page(catalog, [revision(3, "a", verdict="reject", outcome="rejected")])
    assert catalog.rejected_images("zoo") == ["a"]
    assert catalog.captions_by_person("zoo", "human").is_empty()
    page(catalog, [revision(4, "a", verdict="good")])
    assert catalog.rejected_images("zoo") == []


def test_a_page_that_fails_leaves_nothing(lab: Lab) -> None:
    catalog = lab.write()
    catalog.add_annotation_project("k1", "zoo", "human", "zoo/human", "me")
    with pytest.raises(duckdb.Error):
        page(catalog, [revision(1, "a"), revision(1, "b")])
    assert catalog.annotation_counts("k1") == []
    assert catalog.annotation_projects()["watermark"].to_list() == [None]
