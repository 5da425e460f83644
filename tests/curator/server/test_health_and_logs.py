"""Health checks without a token; one log line per request, with an id and without secrets."""

from __future__ import annotations

import json
import logging

import pytest
from fastapi import FastAPI

from curator.server.access_tokens import add
from curator.server.logs import JsonLines, Lines
from tests.curator.lab import Lab
from tests.curator.server.conftest import MakeClient

BASE = "https://lab.example"


def test_health_needs_no_token(make_client: MakeClient) -> None:
    client = make_client(BASE, host="0.0.0.0", require_token=True)
    assert client.get("/healthz").json()["status"] == "ok"
    assert client.get("/readyz").json()["status"] == "ok"
    assert client.get("/api/v1/datasets").status_code == 401


def test_a_request_has_an_id_and_its_line_no_secret(make_client: MakeClient, caplog: pytest.LogCaptureFixture) -> None:
    client = make_client(BASE, host="0.0.0.0", require_token=True)
    secret = {"Authorization": "Bearer amatl_secret", "X-Request-ID": "from-proxy.7"}
    with caplog.at_level(logging.DEBUG, "curator.server"):
        answer = client.get("/api/v1/datasets?signature=hidden", headers=secret)
        other = client.get("/healthz", headers={"X-Request-ID": "a b"})
    assert answer.headers["x-request-id"] == "from-proxy.7"
    assert len(other.headers["x-request-id"]) == 16
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records if record.name == "curator.server"]
    assert lines[0] | {"time": "", "ms": 0} == {
        "time": "",
        "level": "info",
        "message": "request",
        "request_id": "from-proxy.7",
        "method": "GET",
        "path": "/api/v1/datasets",
        "status": 401,
        "ms": 0,
    }
    text = "".join(map(str, lines)) + "".join(Lines().format(record) for record in caplog.records)
    assert "secret" not in text and "hidden" not in text


def test_a_line_names_the_person(make_client: MakeClient, lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    token = add(lab.catalog, "bo", "read", None, "ana").token
    client = make_client(BASE, host="0.0.0.0", require_token=True)
    with caplog.at_level(logging.INFO, "curator.server"):
        assert client.get("/api/v1/datasets", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    (line,) = [JsonLines().format(record) for record in caplog.records if record.name == "curator.server"]
    assert json.loads(line)["person"] == "bo" and token not in line


def test_a_bug_is_a_problem_without_details_and_a_traceback_in_the_log(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client()
    app = client.app
    assert isinstance(app, FastAPI)

    @app.get("/api/v1/bug")
    def bug() -> None:
        raise RuntimeError("a secret of ours")

    with caplog.at_level(logging.INFO, "curator.server"):
        answer = client.get("/api/v1/bug")
    assert answer.status_code == 500 and "secret" not in answer.text
    (record,) = [record for record in caplog.records if record.exc_info and record.name == "curator.server"]
    assert "a secret of ours" in json.loads(JsonLines().format(record))["traceback"]
