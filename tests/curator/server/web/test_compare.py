"""Comparing very large sets: a job does it, and the page shows its result."""

from __future__ import annotations

import json
import re
from html import unescape

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from curator.catalog import Catalog
from curator.compare import compare
from curator.server.jobs import Job, Status
from tests.curator.server.web.test_pages import HTML

PAGE = "/datasets/zoo/compare"
SETS = {"sets": ["human", "template@1"]}
COMMAND = ["compare", "zoo", "--sets=human,template@1"]


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curator.server.web.compare.LARGE", 3)


def job(app: FastAPI, name: str, status: Status, **more: object) -> None:
    given = {
        "id": name,
        "command": COMMAND,
        "person": "ana",
        "status": status,
        "started_at": f"2026-11-26T12:0{name}:00Z",
    }
    app.state.jobs._jobs[name] = Job.model_validate(given | more)


def test_it_is_offered_as_a_job(client: TestClient) -> None:
    page = client.get(PAGE, params=SETS, headers=HTML).text
    found = re.search(r'href="(/jobs[^"]+)">Compare', page)
    assert found and "Words shared" not in page
    ready = unescape(client.get(unescape(found[1]), headers=HTML).text)
    assert f'value="{" ".join(COMMAND)}"' in ready


def test_what_the_newest_job_found_is_shown(client: TestClient, app: FastAPI, catalog: Catalog) -> None:
    result = json.loads(compare(catalog, "zoo", ["human", "template@1"]).model_dump_json())
    job(app, "1", "done", result=result | {"headline": "of the older job"})
    job(app, "2", "done", result=result)
    page = unescape(client.get(PAGE, params=SETS, headers=HTML).text)
    assert result["headline"] in page and "of the older job" not in page and "Compare again" in page
    other = client.get(PAGE, params={"sets": ["template", "human"]}, headers=HTML).text
    assert "Words shared" not in other


def test_a_job_that_runs_or_failed_is_told(client: TestClient, app: FastAPI) -> None:
    job(app, "1", "running")
    page = client.get(PAGE, params=SETS, headers=HTML).text
    assert "The job is running" in page and "Compare …" not in page
    job(app, "2", "failed", error="--sets: no such set <b>")
    page = client.get(PAGE, params=SETS, headers=HTML).text
    assert "The job</a> failed: --sets: no such set &lt;b&gt;" in page and "Compare …" in page
