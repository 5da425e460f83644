"""Images uploaded by a remote ingest are stored complete and with the right SHA-256, or not at all."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from curator.catalog import Catalog
from curator.images.locations import uploaded, uploads_folder
from curator.server import guards, uploads
from curator.server.problems import TooSlow
from curator.server.prune import prune
from tests.curator.lab import picture
from tests.curator.server.conftest import MakeClient
from tests.curator.server.test_access import bearer, token

CONTENT = picture(77, size=(64, 48))
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def abroad(make_client: MakeClient, catalog: Catalog) -> TestClient:
    """Another machine's client, with a token that may write."""
    client = make_client("https://lab.example", host="0.0.0.0", require_token=True, max_upload_bytes=4096)
    client.headers |= bearer(token(catalog, "write"))
    return client


def kept(catalog: Catalog) -> list[str]:
    """Return every uploaded file, including hidden ones."""
    return sorted(file.name for file in uploads_folder(catalog.path).rglob("*") if file.is_file())


def send(client: TestClient, content: Any = CONTENT, name: str = SHA256) -> tuple[int, str]:
    answer = client.put(f"/uploads/{name}", content=content)
    return answer.status_code, "" if answer.is_success else answer.json()["detail"]


def test_what_is_lacking_is_sent_once(abroad: TestClient, catalog: Catalog) -> None:
    other = "0" * 64
    asked = {"images": [SHA256, other]}
    assert abroad.post("/uploads/lacking", json=asked).json() == {"lacking": [SHA256, other]}
    assert send(abroad) == (204, "")
    assert uploaded(uploads_folder(catalog.path), SHA256).read_bytes() == CONTENT
    assert abroad.post("/uploads/lacking", json=asked).json() == {"lacking": [other]}
    assert send(abroad, b"anything: it is there") == (204, "")
    assert uploaded(uploads_folder(catalog.path), SHA256).read_bytes() == CONTENT


def test_who_is_told_that_a_picture_is_there_can_rely_on_it(abroad: TestClient, catalog: Catalog) -> None:
    """Otherwise prune could delete an old upload before the running ingest names it."""
    assert send(abroad) == (204, "")
    file = uploaded(uploads_folder(catalog.path), SHA256)
    for again in (lambda: abroad.post("/uploads/lacking", json={"images": [SHA256]}), lambda: send(abroad)):
        os.utime(file, (0, 0))
        assert prune(catalog, dry_run=True).uploads.files == 1
        again()
        assert prune(catalog).uploads.files == 0 and file.is_file()


@pytest.mark.parametrize(
    ("content", "name", "status", "says"),
    [
        (CONTENT + b"x", SHA256, 409, "another SHA-256"),
        (b"#!/bin/sh\n" * 10, hashlib.sha256(b"#!/bin/sh\n" * 10).hexdigest(), 415, "not an image"),
        (b"", hashlib.sha256(b"").hexdigest(), 415, "not an image"),
        (b"x" * 5000, SHA256, 413, "larger than this service accepts"),
        (iter([CONTENT, b"x" * 5000]), SHA256, 413, "larger than this service accepts"),
        (CONTENT, SHA256[:-1], 422, "sha256"),
        (CONTENT, SHA256.upper(), 422, "sha256"),
        (CONTENT, f"..%2F{SHA256[:61]}", 404, "Not Found"),
        (CONTENT, "..%5C..%5Cetc%5Cpasswd", 422, "sha256"),
    ],
)
def test_nothing_else_is_kept(
    abroad: TestClient, catalog: Catalog, content: Any, name: str, status: int, says: str
) -> None:
    found = send(abroad, content, name)
    assert found[0] == status and says in found[1], found
    assert kept(catalog) == []


def test_a_full_disk_is_said_and_leaves_nothing(
    abroad: TestClient, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(uploads, "_write", full)
        assert send(abroad)[0] == 507
    assert kept(catalog) == []
    with monkeypatch.context() as patch:
        patch.setattr(uploads, "RESERVE_BYTES", 2**80)
        status, detail = send(abroad)
    assert status == 507 and "disk is full" in detail
    assert send(abroad) == (204, "")


def test_only_who_may_write_sends_or_asks(make_client: MakeClient, catalog: Catalog) -> None:
    client = make_client("https://lab.example", host="0.0.0.0", require_token=True)
    for scope, status in ((None, 401), ("read", 403), ("annotate", 403)):
        headers = bearer(token(catalog, scope, scope)) if scope else {}
        assert client.put(f"/uploads/{SHA256}", content=CONTENT, headers=headers).status_code == status
        assert client.post("/uploads/lacking", json={"images": [SHA256]}, headers=headers).status_code == status
        assert client.get("/uploads", headers=headers).status_code == status
    expired = bearer(token(catalog, "write", "late", days=0))
    assert client.put(f"/uploads/{SHA256}", content=CONTENT, headers=expired).status_code == 401
    assert kept(catalog) == []


def test_what_a_killed_service_left_half_sent_is_swept(make_client: MakeClient, catalog: Catalog) -> None:
    folder = uploads_folder(catalog.path) / SHA256[:2]
    folder.mkdir(parents=True)
    (folder / f".{SHA256}.{'0' * 16}").write_bytes(CONTENT[:10])
    (folder / SHA256).write_bytes(CONTENT)
    make_client()
    assert kept(catalog) == [SHA256]


def test_a_body_that_stops_coming_or_trickles_is_given_up(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "FREE_SECONDS", 0.0)
    settings = replace(make_client().app.state.settings, body_pause_seconds=0.05)  # type: ignore[attr-defined]
    scope = {"type": "http", "method": "PUT", "path": "/uploads/x", "headers": [], "server": ("unix", None)}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass

    async def run(seconds: float) -> None:
        async def receive() -> dict[str, Any]:
            await asyncio.sleep(seconds)
            return {"type": "http.request", "body": b"x", "more_body": True}

        await guards.Guards(app, settings)(scope, receive, receive)  # type: ignore[arg-type]

    for seconds in (0.5, 0.001):
        with pytest.raises(TooSlow):
            asyncio.run(run(seconds))
