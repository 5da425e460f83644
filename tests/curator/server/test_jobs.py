"""Jobs of a real service: done, failed, cancelled, interrupted and resumed, with their progress."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from curator.cli import main
from curator.server import jobs
from tests.curator.captioners.openai.fake_endpoint import Asked, Reply, says, serving
from tests.curator.lab import Lab
from tests.curator.server.serving import PATIENCE_S, Serving

pytestmark = pytest.mark.slow


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    for number in range(40):
        lab.add(f"{number}.png", number, {"title": f"thing {number}"})
    lab.write()
    lab.close()
    yield lab


@pytest.fixture
def go_on() -> threading.Event:
    """The model of `slowly` waits for this event after 16 images, two batches."""
    return threading.Event()


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch, go_on: threading.Event) -> Iterator[list[str]]:
    """Return a command that captions a few images per second; a batch takes longer than an event."""

    def model(asked: Asked) -> Reply:
        if asked.number < 16:
            return replace(says("a thing"), after_s=0.3)
        go_on.wait(PATIENCE_S)
        return says("a thing")

    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    with serving(model) as endpoint:
        options = ["model=m", f"base_url={endpoint.url}", "prompt=Describe it", "concurrency=2"]
        command = ["caption", "zoo", "--strategy", "openai", "--set", "seen"]
        yield [*command, *(word for option in options for word in ("-o", option))]
        go_on.set()


@pytest.fixture
def service(lab: Lab, slowly: list[str]) -> Iterator[Serving]:
    serving = Serving(lab.catalog.path)
    yield serving
    if serving.process.poll() is None:
        assert serving.stop() == 0


CAPTION = ("caption", "zoo", "--strategy", "template", "--set", "template", "-o", "template=a ${title}")


def test_a_job_is_done_and_tells_of_it(service: Serving) -> None:
    job = service.start_job(*CAPTION)
    assert (job["status"], job["command"]) == ("running", list(CAPTION))
    with service.client.stream("GET", f"/api/v1/jobs/{job['id']}/events") as stream:
        told = [json.loads(line.removeprefix("data: ")) for line in stream.iter_lines() if line.startswith("data: ")]
    assert told[-1]["status"] == "done", told[-1]
    assert told[-1]["result"]["new"] == 40
    ended = service.client.get(f"/api/v1/jobs/{job['id']}").json()
    assert ended == told[-1]
    assert service.client.get("/api/v1/jobs").json()["jobs"] == [ended]
    captions = service.client.get("/api/v1/datasets/zoo").json()["sets"]
    assert captions == [{"set_name": "template", "captions": 40, "without_image": 0, "missing": 0}]


def test_a_job_that_fails_says_why_as_the_command_does(service: Serving) -> None:
    job = service.start_job("caption", "farm", *CAPTION[2:])
    ended = service.job_ended(job["id"])
    assert (ended["status"], ended["result"]) == ("failed", None)
    assert "farm" in ended["error"] and "Traceback" not in ended["error"]


def test_what_is_no_job_is_refused_and_begins_nothing(service: Serving) -> None:
    answer = service.client.post("/api/v1/jobs", json={"command": ["serve"]})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:amatl:error:BadOption")
    assert service.client.get("/api/v1/jobs/nowhere").status_code == 404
    assert service.client.get("/api/v1/jobs").json() == {"jobs": []}


def test_cancelled_and_resumed_it_does_what_is_missing(service: Serving, slowly: list[str]) -> None:
    job = service.start_job(*slowly)
    service.job_when(job["id"], lambda job: job["done"] >= 4)
    assert service.client.post(f"/api/v1/jobs/{job['id']}/cancel").status_code == 202
    ended = service.job_ended(job["id"])
    assert ended["status"] == "cancelled"
    kept = service.client.get("/api/v1/datasets/zoo").json()["sets"][0]["captions"]
    assert 4 <= kept < 40


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_cut_off_by_a_restart_it_is_interrupted_and_can_be_resumed(
    lab: Lab, service: Serving, slowly: list[str], go_on: threading.Event, number: int
) -> None:
    job = service.start_job(*slowly)
    service.job_when(job["id"], lambda job: job["done"] >= 4)
    service.stop(number)
    again = Serving(lab.catalog.path)
    try:
        (found,) = again.client.get("/api/v1/jobs").json()["jobs"]
        assert (found["id"], found["status"]) == (job["id"], "interrupted")
        before = again.client.get("/api/v1/datasets/zoo").json()["sets"][0]["captions"]
        assert 4 <= before < 40
        go_on.set()
        assert again.client.post(f"/api/v1/jobs/{job['id']}/resume").status_code == 202
        ended = again.job_ended(job["id"])
        assert (ended["status"], ended["result"]["new"]) == ("done", 40 - before)
    finally:
        assert again.stop() == 0


def test_jobs_that_began_in_one_second_are_told_newest_first_also_by_the_next_service(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "now", lambda: "2026-11-23T12:00:00Z")
    kept = jobs.Jobs(tmp_path / "jobs", lab.catalog.path, None, main)
    begun = [kept.start(CAPTION, "ana").id for _ in range(4)]
    assert [job.id for job in kept.all()] == begun[::-1]
    kept.stop(PATIENCE_S)
    again = jobs.Jobs(tmp_path / "jobs", lab.catalog.path, None, main)
    assert [job.id for job in again.all()] == begun[::-1]


def test_a_job_that_is_seen_to_have_ended_is_written_so(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the result of the first run would overwrite a job that is resumed at once."""
    write = jobs.Jobs._write

    def slow(self: jobs.Jobs, job: jobs.Job, pid: int | None = None) -> None:
        time.sleep(0 if job.status == "running" else 0.5)
        write(self, job, pid)

    monkeypatch.setattr(jobs.Jobs, "_write", slow)
    kept = jobs.Jobs(tmp_path / "jobs", lab.catalog.path, None, main)
    name = kept.start(CAPTION, "ana").id
    while kept.get(name).status == "running":
        time.sleep(0.01)
    assert json.loads((tmp_path / "jobs" / f"{name}.json").read_bytes())["status"] == kept.get(name).status
    kept.stop(PATIENCE_S)


def test_the_page_begins_a_job_and_says_how_it_ended(service: Serving) -> None:
    page = service.client.get("/jobs", headers={"Accept": "text/html"}).text
    token = re.search(r'name="csrf_token" value="([0-9a-f]+)"', page)
    assert token
    typed = "curator caption zoo --strategy template --set template -o 'template=a ${title}'"
    answer = service.client.post("/jobs", data={"command": typed, "csrf_token": token[1]})
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs")
    (job,) = service.client.get("/api/v1/jobs").json()["jobs"]
    service.job_ended(job["id"])
    page = service.client.get("/jobs", headers={"Accept": "text/html"}).text
    assert 'data-status="done"' in page
    assert typed in unescape(page)
