"""Run reports: taken in byte for byte, once; pictures that a report names, and no others."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from curator.snapshot import SnapshotResult
from schemas.run import RunReport
from tests.curator.server.conftest import MakeClient
from tests.schemas.test_spec import example


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (number, 0, 0)).save(buffer, "png")
    return buffer.getvalue()


def grid(content: bytes, path: str) -> dict[str, Any]:
    file = {"path": path, "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    return {"file": file, "rows": 1, "columns": 1, "tile_px": 4}


REFERENCES, EPOCH = picture(1), picture(2)


@pytest.fixture
def report(made: SnapshotResult) -> dict[str, Any]:
    """Return the specification's example report, for this snapshot, with two images."""
    document: dict[str, Any] = example("run")
    document["snapshot"]["identity"] = made.identity
    document["captions"] = "human"
    document["references"] = grid(REFERENCES, "grids/references.png")
    for checkpoint in document["checkpoints"]:
        checkpoint["grid"] = None
    document["checkpoints"][0]["grid"] = grid(EPOCH, "grids/epoch-000.png")
    RunReport.model_validate_json(json.dumps(document))
    return document


def posted(client: TestClient, report: dict[str, Any], **headers: str) -> Any:
    return client.post("/api/v1/runs", content=json.dumps(report), headers=headers)


def test_a_report_is_kept_once_with_its_pictures(client: TestClient, report: dict[str, Any]) -> None:
    first = posted(client, report)
    assert first.status_code == 201, first.text
    receipt = first.json()
    pictures = [hashlib.sha256(content).hexdigest() for content in (REFERENCES, EPOCH)]
    assert receipt["missing"] == pictures
    assert receipt["digest"] == hashlib.sha256(json.dumps(report).encode()).hexdigest()
    for sha256, content in zip(pictures, (REFERENCES, EPOCH), strict=True):
        done = client.put(f"/api/v1/runs/{receipt['digest']}/pictures/{sha256}", content=content)
        assert done.status_code == 204, done.text
    again = posted(client, report)
    assert again.status_code == 200
    assert again.json() == receipt | {"unchanged": True, "missing": []}
    found = client.get(first.headers["location"]).json()
    assert (found["pictures"], found["missing"]) == (pictures, [])
    assert found["report"] == RunReport.model_validate_json(json.dumps(report)).model_dump(mode="json")
    shown = client.get(f"/api/v1/runs/{receipt['run']}/pictures/{pictures[1]}")
    assert (shown.content, shown.headers["content-type"]) == (EPOCH, "image/png")
    tag = {"If-None-Match": shown.headers["etag"]}
    assert client.get(f"/api/v1/runs/{receipt['run']}/pictures/{pictures[1]}", headers=tag).status_code == 304


def test_a_run_stands_beside_the_versions_it_came_from(
    client: TestClient, report: dict[str, Any], made: SnapshotResult
) -> None:
    posted(client, report)
    later = report | {"status": "complete", "updated_at": "2026-11-26T13:00:00Z"}
    posted(client, later)
    (line,) = client.get(f"/api/v1/runs?snapshot={made.identity}").json()["runs"]
    assert (line["status"], line["versions"], line["updated_at"]) == (
        "complete",
        ["zoo/human@1"],
        "2026-11-26T13:00:00Z",
    )
    assert client.get(f"/api/v1/snapshots/{made.identity}").json()["runs"] == 1
    mixed = report | {"name": "mixed", "captions": "human:0.5,template:0.5"}
    posted(client, mixed)
    lines = client.get("/api/v1/runs").json()["runs"]
    assert [(line["name"], line["versions"]) for line in lines] == [
        ("mixed", ["zoo/human@1", "zoo/template@1"]),
        (report["name"], ["zoo/human@1"]),
    ]
    assert client.get(f"/api/v1/runs?snapshot={'0' * 64}").json() == {"runs": []}


def test_what_is_not_taken(client: TestClient, report: dict[str, Any]) -> None:
    nothing = client.post("/api/v1/runs", content=b"{}")
    assert nothing.status_code == 422 and "The run report can't be read: " in nothing.json()["detail"]
    report["snapshot"]["identity"] = "0" * 64
    unknown = posted(client, report)
    assert unknown.status_code == 404
    assert "trained on snapshot 000000000000 of " in unknown.json()["detail"]
    assert client.get("/api/v1/runs").json() == {"runs": []}
    assert client.get(f"/api/v1/runs/{'0' * 64}").status_code == 404


def test_pictures_that_are_not_taken(client: TestClient, report: dict[str, Any], tmp_path: Path) -> None:
    page = b"<html><script>alert(1)</script></html>"
    report["references"] = grid(page, "grids/references.html")
    digest = posted(client, report).json()["digest"]

    def put(content: bytes, sha256: str) -> Any:
        return client.put(f"/api/v1/runs/{digest}/pictures/{sha256}", content=content)

    own = hashlib.sha256(EPOCH).hexdigest()
    assert put(EPOCH[:-1], own).status_code == 409
    assert put(REFERENCES, hashlib.sha256(REFERENCES).hexdigest()).status_code == 404
    assert put(page, hashlib.sha256(page).hexdigest()).json()["detail"] == (
        "grids/references.html: no PNG, JPEG or WebP."
    )
    assert client.get(f"/api/v1/runs/{digest}/pictures/{own}").status_code == 404
    assert not list(tmp_path.glob("**/runs/*"))


def test_too_large_is_said(make_client: MakeClient, report: dict[str, Any]) -> None:
    client = make_client(max_upload_bytes=1000)
    assert posted(client, report).status_code == 413
