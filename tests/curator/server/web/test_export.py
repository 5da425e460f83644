"""The export page: the preview comes from the stage; the job starts only if it still makes that snapshot."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from curator.catalog import Catalog
from curator.server.jobs import Job
from curator.snapshot import Holdout, preview, snapshot
from tests.curator.lab import Lab
from tests.curator.server.web.test_pages import HTML

EXPORT = "/datasets/zoo/export"
BOTH = {"text": "zoo/human@1", "also": "zoo/template@1", "holdout": "2"}


@pytest.fixture
def begun(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Record the commands of started jobs; none of them runs."""
    begun: list[list[str]] = []

    def start(command: list[str], person: str) -> Job:
        begun.append(command)
        job = Job(
            id=f"{len(begun)}", command=command, person=person, status="running", started_at="2026-11-26T12:00:00Z"
        )
        app.state.jobs._jobs[job.id] = job
        return job

    monkeypatch.setattr(app.state.jobs, "start", start)
    return begun


def hidden(page: str) -> dict[str, Any]:
    """Return the hidden fields of a page's post form."""
    form = page[page.index('<form method="post"') :]
    return {name: unescape(value) for name, value in re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form)}


def test_what_is_shown_is_what_the_stage_makes_and_nothing_is_written(
    client: TestClient, catalog: Catalog, tmp_path: Path
) -> None:
    page = client.get(
        EXPORT, params={"text": "zoo/human@1", "also": "zoo/template@1", "holdout": "2"}, headers=HTML
    ).text
    assert "<b>3</b> to train on" in page and "<b>2</b> held out" in page and "<b>1</b> near-duplicate group" in page
    assert "without all captions" in page
    assert catalog.stored_splits("zoo").is_empty() and catalog.snapshots().is_empty()
    made = snapshot(catalog, ["zoo/human@1", "zoo/template@1"], tmp_path / "out", holdout=Holdout(count=2))
    assert made.identity[:12] in page
    shown = set(re.findall(r'<li><a href="/datasets/zoo/images/([0-9a-f]{64})"', page))
    held_out = catalog.stored_splits("zoo").filter(split="validation")["representative_sha256"]
    assert set(held_out) <= shown and len(shown) == made.held_out


def test_images_that_stay_without_a_caption_are_not_among_those_left_out(client: TestClient) -> None:
    def left_out(**more: str) -> str:
        page = client.get(EXPORT, params=BOTH | more, headers=HTML).text
        assert "without a caption in human" in page
        return page[page.index("<h3>Left out</h3>") : page.index("<h3 class")]

    assert "without a caption in human" in left_out()
    assert "without a caption in human" not in left_out(keep_missing="true")


def test_a_suggested_folder_is_named_by_the_versions_chosen_and_a_chosen_one_stays(client: TestClient) -> None:
    def folder(**form: str) -> str:
        return hidden(client.get(EXPORT, params=form, headers=HTML).text)["folder"]

    first = {"suggested": "zoo-human-1", "text": "zoo/template@1", "holdout": "1"}
    assert folder(folder="zoo-human-1", **first) == "zoo-template-1"
    assert folder(folder="mine", **first) == "mine"


def test_a_preview_counts_groups_and_what_is_new(catalog: Catalog, tmp_path: Path) -> None:
    first = preview(catalog, ["zoo/template@1"], tmp_path / "out", holdout=Holdout(count=2))
    assert (first.train, first.train_new, first.held_out_new, first.groups, first.group_images) == (4, 4, 2, 1, 2)
    assert not first.unchanged and all(one.new for one in first.images)
    snapshot(catalog, ["zoo/template@1"], tmp_path / "out", holdout=Holdout(count=2))
    again = preview(catalog, ["zoo/template@1"], tmp_path / "out", holdout=Holdout(count=2))
    assert again.unchanged and (again.identity, again.train_new, again.held_out_new) == (first.identity, 0, 0)
    assert [one.image_sha256 for one in again.images] == [one.image_sha256 for one in first.images]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"holdout": "ten"}, "“Number of images” ten: not a number."),
        (
            {"holdout": "1", "holdout_fraction": "0.5"},
            "Give one of “Number of images”, “Share of images” and",
        ),
        ({"holdout": "99"}, "“Number of images” 99: there are only 5 images."),
        ({"holdout_fraction": "nan"}, "“Share of images” nan: give a share from 0 to below 1"),
        ({"where": "wideness > 3"}, "wideness"),
        ({"where": "width_px > 9999"}, "no image is left for the snapshot"),
        ({"text": "zoo/human"}, "give a committed version. The latest is zoo/human@1."),
        ({"text": "zoo/human@7"}, "zoo/human has no version @7."),
        ({"text": "other/human@1"}, "not a version of zoo"),
        ({"folder": "../../etc"}, "not a path"),
    ],
)
def test_an_error_names_the_fields_of_the_page(client: TestClient, asked: dict[str, str], said: str) -> None:
    answer = client.get(EXPORT, params={"text": "zoo/human@1"} | asked, headers=HTML)
    assert answer.status_code == 422 and said in unescape(answer.text)
    for name, value in asked.items():  # what was typed still stands there
        assert name == "text" or f'name="{name}" value="{value}"' in unescape(answer.text)


def test_the_job_is_what_was_looked_at_and_begins_once(client: TestClient, begun: list[list[str]]) -> None:
    asked = BOTH | {"where": "title != 'bear'"}
    form = hidden(client.get(EXPORT, params=asked | {"keep_missing": "true"}, headers=HTML).text)
    for _ in range(2):
        assert client.post(EXPORT, data=form, headers=HTML).url.path == "/jobs"
    assert begun == [
        ["snapshot", "zoo/human@1", "zoo/template@1", "--out=snapshots/zoo-human-1-and-1-more", "--holdout=2",
         "--where=title != 'bear'", "--keep-missing"]
    ]  # fmt: skip


def test_what_became_another_snapshot_meanwhile_is_shown_again(
    client: TestClient, catalog: Catalog, begun: list[list[str]], tmp_path: Path
) -> None:
    form = hidden(client.get(EXPORT, params={"text": "zoo/template@1", "holdout": "2"}, headers=HTML).text)
    snapshot(catalog, ["zoo/template@1"], tmp_path / "other", holdout=Holdout(count=3))
    answer = client.post(EXPORT, data=form, headers=HTML)
    assert answer.status_code == 422 and "Captions or images changed since this preview" in answer.text
    assert "<b>3</b> held out" in answer.text and begun == []


def test_a_dataset_without_versions_says_what_to_do(client: TestClient, lab: Lab) -> None:
    lab.run("DELETE FROM versions")
    assert "Commit a set" in client.get(EXPORT, headers=HTML).text


def test_a_large_dataset_is_split_by_a_job(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, begun: list[list[str]]
) -> None:
    monkeypatch.setattr("curator.server.web.export.LARGE", 3)
    page = client.get(EXPORT, params=BOTH, headers=HTML).text
    found = re.search(r'href="(/jobs[^"]+)">Work out', page)
    assert found and "to train on" not in page
    ready = unescape(client.get(unescape(found[1]), headers=HTML).text)
    command = "snapshot zoo/human@1 zoo/template@1 --out=snapshots/zoo-human-1-and-1-more --holdout=2 --dry-run"
    assert f'value="{command}"' in ready
    answer = client.post(EXPORT, data=BOTH, headers=HTML)
    assert answer.status_code == 422 and begun == []
    assert "not a path" in unescape(client.get(EXPORT, params=BOTH | {"folder": "/etc"}, headers=HTML).text)
