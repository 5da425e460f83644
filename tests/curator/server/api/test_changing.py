"""Changing by the API: one caption with If-Match, replace and undo, commit and restore; by whom, and who may not."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from curator.server.access import scopes_up_to
from tests.curator.lab import Lab
from tests.curator.server.api.test_reading import ZOO, named
from tests.curator.server.conftest import MakeClient


def address(client: TestClient, name: str = "fox", caption_set: str = "human") -> str:
    return f"{ZOO}/images/{named(client)[name]}/captions/{caption_set}"


def texts(lab: Lab) -> set[str]:
    return set(lab.catalog.caption_texts("zoo", "human")["text"])


def test_a_caption_is_revised_by_who_has_seen_it(client: TestClient, lab: Lab) -> None:
    fox = address(client)
    seen = client.get(fox)
    assert seen.headers["etag"] == f'"caption-{seen.json()["caption_id"]}"'
    done = client.put(fox, json={"text": "a fox\nasleep "}, headers={"If-Match": seen.headers["etag"]})
    assert (done.status_code, done.json()["text"]) == (200, "a fox asleep")
    now = client.get(fox)
    assert now.headers["etag"] == done.headers["etag"] != seen.headers["etag"]
    assert (now.json()["by_person"], now.json()["strategy"]) == (True, "edit")
    lost = client.put(fox, json={"text": "mine"}, headers={"If-Match": seen.headers["etag"]})
    assert lost.status_code == 412
    assert lost.json()["type"] == "urn:amatl:error:Overtaken"
    assert "zoo/human, fox.png: changed meanwhile by " in lost.json()["detail"]
    assert "a fox asleep" in texts(lab)


@pytest.mark.parametrize(
    ("headers", "status", "detail"),
    [
        ({}, 428, "If-Match with the ETag of the caption"),
        ({"If-Match": '"other"'}, 422, 'such as "caption-12"'),
        ({"If-None-Match": '"caption-1"'}, 422, "only * is supported"),
        ({"If-None-Match": "*"}, 412, "changed meanwhile"),
    ],
)
def test_what_a_change_must_be_asked_with(
    client: TestClient, lab: Lab, headers: dict[str, str], status: int, detail: str
) -> None:
    before = texts(lab)
    answer = client.put(address(client), json={"text": "x"}, headers=headers)
    assert (answer.status_code, detail in answer.json()["detail"]) == (status, True)
    assert texts(lab) == before


def test_a_first_caption_and_one_whatever_is_there(client: TestClient, lab: Lab) -> None:
    lion = address(client, "lion")
    assert client.get(lion).status_code == 404
    assert client.put(lion, json={"text": "a lion"}, headers={"If-None-Match": "*"}).status_code == 200
    assert client.put(lion, json={"text": "the lion"}, headers={"If-Match": "*"}).json()["text"] == "the lion"
    assert "the lion" in texts(lab)


@pytest.mark.parametrize("body", [{}, {"text": None}, {"text": "x" * 10_001}, {"text": "\ud800"}, [], "x"])
def test_what_is_no_caption(client: TestClient, body: Any) -> None:
    import json

    answer = client.put(address(client), content=json.dumps(body), headers={"If-Match": "*"})
    assert answer.status_code == 422, answer.text


def test_replace_shows_by_default_then_changes_then_undoes(client: TestClient, lab: Lab) -> None:
    before = texts(lab)
    wanted = {"find": "in the snow", "replacement": "on ice"}
    shown = client.post("/api/v1/sets/zoo/human/replace", json=wanted).json()
    assert (shown["dry_run"], shown["changed"], texts(lab)) == (True, 4, before)
    done = client.post("/api/v1/sets/zoo/human/replace", json=wanted | {"preview": False}).json()
    assert done["changed"] == 4 and "wolf on ice" in texts(lab)
    undone = client.post(f"/api/v1/sets/zoo/human/replace/{done['run_id']}/undo").json()
    assert (undone["restored"], undone["left"], texts(lab)) == (4, 0, before)
    wrong = client.post("/api/v1/sets/zoo/human/replace", json={"find": "(", "replacement": "", "regex": True})
    assert wrong.status_code == 422 and "not a supported regular expression" in wrong.json()["detail"]
    assert client.post("/api/v1/sets/zoo/human/replace/99/undo").status_code == 404


def test_accept_counts_by_default_then_accepts_then_undoes(client: TestClient, lab: Lab) -> None:
    images = [named(client)[name] for name in ("fox", "wolf", "lion")]
    counted = client.post("/api/v1/sets/zoo/human/accept", json={"images": images}).json()
    assert (counted["dry_run"], counted["accepted"], counted["missing"]) == (True, 2, 1)
    done = client.post("/api/v1/sets/zoo/human/accept", json={"images": images, "preview": False}).json()
    assert done["accepted"] == 2
    undone = client.post(f"/api/v1/sets/zoo/human/accept/{done['run_id']}/undo").json()
    assert (undone["restored"], undone["left"]) == (2, 0)
    assert client.post("/api/v1/sets/zoo/human/accept/99/undo").status_code == 404
    assert client.post("/api/v1/sets/zoo/human@1/accept", json={}).status_code == 422


def test_commit_and_restore(client: TestClient, lab: Lab) -> None:
    done = client.post("/api/v1/sets/zoo/human/versions", json={"message": "edited"}).json()
    assert (done["version"], done["changed"]) == ("zoo/human@2", 1)
    assert client.post("/api/v1/sets/zoo/human/versions", json={"message": "again"}).json()["unchanged"]
    back = client.post("/api/v1/sets/zoo/human/versions/1/restore").json()
    assert back["changed"] == 1 and "fox in the snow" in texts(lab)
    assert client.post("/api/v1/sets/zoo/human/versions/9/restore").status_code == 404
    assert client.post("/api/v1/sets/zoo/human/versions", json={"message": " "}).status_code == 422


def test_scopes_and_whose_it_is(make_client: MakeClient, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    scopes = {"r" * 8: ("rosa", "read"), "a" * 8: ("ana", "annotate")}
    known = {digest: {"person": person, "scope": scope} for digest, (person, scope) in scopes.items()}
    monkeypatch.setattr("curator.server.access.token_sha256", lambda token: token)
    monkeypatch.setattr(type(lab.catalog), "access_of", lambda self, digest: known.get(digest))
    assert scopes_up_to("annotate") == {"read", "annotate"}
    client = make_client(require_token=True)

    def as_(token: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}"}

    assert client.get(f"{ZOO}/images").status_code == 401
    client.headers |= as_("r" * 8)
    fox = address(client)
    refused = client.put(fox, json={"text": "mine"}, headers={"If-Match": "*"})
    assert refused.status_code == 403 and "This needs the scope annotate" in refused.json()["detail"]
    done = client.put(fox, json={"text": "mine"}, headers={"If-Match": "*", **as_("a" * 8)})
    assert done.json()["person"] == "ana"
    assert client.post("/api/v1/runs", content=b"{}", headers=as_("a" * 8)).status_code == 403
