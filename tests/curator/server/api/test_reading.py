"""Reading by the API: the same results as the stage functions, tags, pages, streams, problems."""

from __future__ import annotations

import hashlib
import io
import json
from datetime import datetime
from typing import Any

import polars as pl
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel

from curator import datasets
from curator import runs as running
from curator.caption_sets import diff, history, versions
from curator.caption_sets.revise import ReviseResult
from curator.datasets import image
from curator.gallery import GalleryFilters, GalleryResult, gallery
from curator.server.api import examples
from curator.server.api.images import ImageAddresses
from curator.snapshot import recorded as listing
from tests.curator.lab import Lab
from tests.curator.server.conftest import MakeClient

ZOO = "/api/v1/datasets/zoo"
ARROW, LINES = "application/vnd.apache.arrow.stream", "application/x-ndjson"


def named(client: TestClient) -> dict[str, str]:
    images = client.get(f"{ZOO}/images").json()["images"]
    return {one["file_name"].removesuffix(".png"): one["sha256"] for one in images}


def test_what_it_says_is_what_the_stages_say(client: TestClient, lab: Lab) -> None:
    fox = named(client)["fox"]
    for address, result in (
        ("/api/v1/datasets", datasets.datasets(lab.catalog)),
        (ZOO, datasets.dataset_health(lab.catalog, "zoo")),
        (f"{ZOO}/images", gallery(lab.catalog, "zoo")),
        (f"{ZOO}/images/{fox}", image.image(lab.catalog, "zoo", fox)),
        (f"{ZOO}/images/{fox}/history", history.history(lab.catalog, fox)),
        ("/api/v1/sets", versions.versions(lab.catalog)),
        ("/api/v1/sets/zoo/human", versions.versions(lab.catalog, "zoo/human").sets[0]),
        ("/api/v1/diff?before=zoo/human@1", diff.diff(lab.catalog, "zoo/human@1")),
        ("/api/v1/snapshots", listing.snapshots(lab.catalog)),
        ("/api/v1/runs", running.runs(lab.catalog)),
    ):
        answer = client.get(address)
        assert answer.status_code == 200, answer.text
        assert answer.json() == json.loads(result.model_dump_json())


def test_health_says_what_is_missing(client: TestClient) -> None:
    health = client.get(ZOO).json()
    assert (health["images"], health["near_duplicate_groups"], health["near_duplicate_images"]) == (6, 1, 2)
    assert health["sets"] == [
        {"set_name": "human", "captions": 5, "without_image": 0, "missing": 1},
        {"set_name": "template", "captions": 6, "without_image": 0, "missing": 0},
    ]


def test_one_image_with_all_its_captions(client: TestClient) -> None:
    images = named(client)
    found = client.get(f"{ZOO}/images/{images['fox']}").json()
    assert found["metadata"] == {"title": "fox", "group": "animal"}
    assert {one["set_name"]: one["text"] for one in found["captions"]} == {
        "human": "a red fox in deep snow",
        "template": "a drawing of a fox",
    }
    assert [one["image_sha256"] for one in found["near_duplicates"]] == [images["fox again"]]
    assert not found["near_duplicates"][0]["representative"]


def test_pages_by_key_with_filters(client: TestClient) -> None:
    def page(**query: Any) -> dict[str, Any]:
        answer = client.get(f"{ZOO}/images", params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    first = page(limit=4)
    second = page(limit=4, after=first["after"])
    assert [len(first["images"]), len(second["images"]), second["after"], second["position"]] == [4, 2, None, 4]
    assert page(limit=4, before=second["before"]) == first
    assert page(text="RED FOX")["total"] == 1
    assert (page(caption_set="human")["total"], page(caption_set="template")["total"]) == (5, 6)
    assert page(caption_set="human", status="missing")["images"][0]["file_name"] == "lion.png"
    assert page(metadata=["group=animal", "title=bear"])["total"] == 1
    assert page(where="title in ('fox', 'wolf') and license = 'CC0-1.0'")["total"] == 2


def test_who_has_it_already_is_told_so(client: TestClient, lab: Lab) -> None:
    for address in ("/api/v1/datasets", f"{ZOO}/images", "/api/v1/sets"):
        tag = client.get(address).headers["etag"]
        again = client.get(address, headers={"If-None-Match": f'"other", W/{tag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    lab.caption("human", {named(client)["lion"]: "a lion"})
    lab.write()
    assert client.get("/api/v1/sets", headers={"If-None-Match": tag}).status_code == 200


def test_whole_sets_stream_as_arrow_and_json_lines(client: TestClient, lab: Lab) -> None:
    expected = lab.catalog.caption_texts("zoo", "human")
    arrow = client.get("/api/v1/sets/zoo/human/captions", headers={"Accept": ARROW})
    assert arrow.headers["content-type"] == ARROW
    assert pl.read_ipc_stream(io.BytesIO(arrow.content)).equals(expected)
    lines = client.get("/api/v1/sets/zoo/human/captions", headers={"Accept": "text/html, application/x-ndjson;q=0.9"})
    assert [json.loads(line) for line in lines.text.splitlines()] == expected.to_dicts()
    version = client.get("/api/v1/sets/zoo/human/captions?version=1")
    assert "a red fox" not in version.text and version.headers["content-type"].startswith(LINES)
    assert 'filename="zoo-human-1.jsonl"' in version.headers["content-disposition"]


def test_a_filtered_dataset_streams_whole(client: TestClient, lab: Lab) -> None:
    answer = client.get(f"{ZOO}/images?where=title = 'fox'&limit=1", headers={"Accept": ARROW})
    rows = pl.read_ipc_stream(io.BytesIO(answer.content))
    assert rows["file_name"].to_list() == ["fox.png", "fox again.png"]
    assert rows["caption.human"].to_list() == ["a red fox in deep snow", "fox again in the snow"]
    assert rows.height == gallery(lab.catalog, "zoo", GalleryFilters(where="title = 'fox'")).total


@pytest.mark.parametrize(
    ("address", "status", "detail"),
    [
        ("/api/v1/datasets/farm", 404, "There is no dataset 'farm'. There are: zoo."),
        ("/api/v1/datasets/farm/images", 404, "There is no dataset 'farm'. There are: zoo."),
        (f"{ZOO}/images/{'0' * 64}", 404, "zoo has no image 000000000000."),
        (f"{ZOO}/images/xyz", 422, "path.sha256: String should match"),
        (f"{ZOO}/images?where=grop%20%3D%201", 422, "there is no column `grop`. Did you mean `group`?"),
        (f"{ZOO}/images?where=1%20%3D%3D%201%3B%20DROP", 422, "where: "),
        (f"{ZOO}/images?limit=501", 422, "query.limit: "),
        (f"{ZOO}/images?after=1&before=2", 422, "after, before: give one of the two."),
        (f"{ZOO}/images?sort=x", 422, "query.sort: "),
        ("/api/v1/sets/zoo/nobody", 404, "There is no caption set 'zoo/nobody'. There are: zoo/human, zoo/template."),
        ("/api/v1/sets/zoo/human/captions?version=7", 404, "zoo/human has no version @7. There are: @1."),
        ("/api/v1/sets/zoo/No%20Set", 422, "not a caption set"),
        (f"{ZOO}/compare?sets=human", 422, "name two or more sets"),
        (f"{ZOO}/rejects?reason=taste", 422, "--reason taste: not a reason."),
        ("/api/v1/nothing", 404, "Not Found"),
    ],
)
def test_problems_say_what_the_command_line_says(client: TestClient, address: str, status: int, detail: str) -> None:
    answer = client.get(address)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status and detail in problem["detail"]


EXAMPLES: list[tuple[type[BaseModel], dict[str, Any]]] = [
    (datasets.DatasetHealth, examples.DATASET),
    (GalleryResult, examples.PAGE),
    (image.ImageResult, examples.IMAGE),
    (ImageAddresses, examples.ADDRESSES),
    (ReviseResult, examples.REVISED),
    (versions.SetVersions, examples.SET),
    (diff.DiffResult, examples.DIFF),
    (listing.SnapshotLine, examples.SNAPSHOT),
    (running.RunLine, examples.RUN),
]


@pytest.mark.parametrize(("model", "example"), EXAMPLES, ids=lambda value: getattr(value, "__name__", ""))
def test_an_example_is_what_the_model_would_say(model: type[BaseModel], example: dict[str, Any]) -> None:
    assert json.loads(model.model_validate(example).model_dump_json()) == example


def test_addresses_are_good_without_a_token_until_they_expire(
    client: TestClient, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    fox, stranger = named(client)["fox"], make_client(require_token=True)
    found = client.get(f"{ZOO}/images/{fox}/addresses").json()
    assert [stranger.get(f"{ZOO}/images/{fox}{more}").status_code for more in ("", "/addresses")] == [401, 401]
    assert stranger.get(f"/images/{fox}").status_code == 401
    assert hashlib.sha256(stranger.get(found["original"]).content).hexdigest() == fox
    assert stranger.get(found["thumbnail"]).headers["content-type"] == "image/jpeg"
    query = found["thumbnail"].partition("?")[2]
    assert stranger.get(f"/images/{fox}?{query}").status_code == 403
    until = datetime.fromisoformat(found["expires_at"]).timestamp()
    monkeypatch.setattr("curator.server.signing.time.time", lambda: until + 1)
    assert "has expired" in stranger.get(found["original"]).json()["detail"]
    assert client.get(f"{ZOO}/images/{'0' * 64}/addresses").status_code == 404


OPERATIONS = [
    "acceptCaptions",
    "checkSet",
    "commitSet",
    "compareSets",
    "diff",
    "downloadSnapshotFile",
    "getCaption",
    "getDataset",
    "getHistory",
    "getImage",
    "getImageAddresses",
    "getRun",
    "getRunPicture",
    "getSet",
    "getSnapshot",
    "getStats",
    "listDatasets",
    "listFailures",
    "listImages",
    "listRejects",
    "listRuns",
    "listSets",
    "listSnapshots",
    "postRun",
    "putCaption",
    "putRunPicture",
    "replaceCaptions",
    "restoreVersion",
    "streamCaptions",
    "undoAccept",
    "undoReplace",
]


def test_the_description_has_stable_names(app: FastAPI, client: TestClient) -> None:
    description = client.get("/openapi.json").json()
    operations = {
        operation["operationId"]: (path, operation)
        for path, methods in description["paths"].items()
        for operation in methods.values()
        if path.startswith(("/api/v1/", "/snapshots/")) and "jobs" not in path
    }
    assert sorted(operations) == OPERATIONS
    for path, operation in operations.values():
        assert operation["description"].endswith((".", "`")), path
        assert "application/problem+json" in operation["responses"]["4XX"]["content"]
