"""A trainer and a service over a real connection: download a snapshot, report a run, refusals."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from click.testing import CliRunner
from fastapi import FastAPI

from curator.cli import main
from curator.runs import runs
from curator.server import Settings, create_app
from curator.snapshot import SnapshotResult
from schemas.errors import BadOption, ChecksumMismatch, NotFound, ServiceFailed
from tests.curator.lab import Lab
from tests.curator.server.api.test_runs import EPOCH, REFERENCES, report
from trainer_client.cli import main as trainer
from trainer_client.data.snapshot import Snapshot
from trainer_client.post import post

__all__ = ["report"]


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """Serve the app on a local port; yield its address."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.005)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def service(app: FastAPI) -> Iterator[str]:
    with running(app) as address:
        yield address


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AMATL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("AMATL_TOKEN", raising=False)


@pytest.fixture
def run(report: dict[str, Any], tmp_path: Path) -> Path:
    """Return a run folder with two images."""
    folder = tmp_path / "run"
    (folder / "grids").mkdir(parents=True)
    (folder / "grids" / "references.png").write_bytes(REFERENCES)
    (folder / "grids" / "epoch-000.png").write_bytes(EPOCH)
    (folder / "run.json").write_text(json.dumps(report))
    return folder


def test_there_and_back(service: str, made: SnapshotResult, run: Path, lab: Lab) -> None:
    fetched = Snapshot.open(f"{service}/snapshots/{made.identity}")
    assert fetched.manifest == Snapshot.open(made.folder).manifest
    first = post(run, service)
    assert (first.unchanged, first.sent, first.already_there) == (False, 2, 0)
    again = post(run, f"{service}/")
    assert (again.unchanged, again.sent, again.already_there, again.digest) == (True, 0, 2, first.digest)
    (line,) = runs(lab.catalog).runs
    assert (line.digest, line.versions) == (first.digest, ["zoo/human@1"])
    assert first.address == f"{service}/api/v1/runs/{line.run_key}"


def test_the_command(service: str, run: Path) -> None:
    answer = CliRunner().invoke(trainer, ["post", str(run), "--to", service])
    assert answer.exit_code == 0, answer.output
    assert "the run record is posted; 2 grids sent." in answer.output
    told = CliRunner().invoke(trainer, ["post", str(run), "--to", service, "--json"])
    assert json.loads(told.stdout)["already_there"] == 2
    again = CliRunner().invoke(trainer, ["report", str(run), "--to", service])
    assert "the service already has the run record and every grid." in again.output
    wrong = CliRunner().invoke(trainer, ["post", str(run), "--to", "nowhere"])
    assert (wrong.exit_code, "--to nowhere: not an address" in wrong.output) == (2, True)


def test_a_half_sent_report_goes_on(service: str, run: Path) -> None:
    grid = run / "grids" / "epoch-000.png"
    grid.rename(run / "elsewhere.png")
    with pytest.raises(NotFound, match=r"epoch-000.png: missing, and the run record names it"):
        post(run, service)
    grid.write_bytes(b"other")
    with pytest.raises(ChecksumMismatch, match=r"epoch-000.png: changed since the run wrote it"):
        post(run, service)
    (run / "elsewhere.png").rename(grid)
    result = post(run, service)
    assert (result.unchanged, result.sent, result.already_there) == (True, 1, 1)


def changed(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads((run / "run.json").read_bytes())
    change(document)
    (run / "run.json").write_text(json.dumps(document))


def test_a_snapshot_that_the_service_does_not_know(service: str, run: Path) -> None:
    changed(run, lambda document: document["snapshot"].update(identity="0" * 64))
    with pytest.raises(NotFound, match=r"trained on snapshot 000000000000 of \w+, which isn't known here"):
        post(run, service)


def test_what_is_no_run_and_no_service(service: str, run: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"not a run, it has no run.json"):
        post(tmp_path, service)
    with pytest.raises(BadOption, match="not an address"):
        post(run, "runs/here")
    with pytest.raises(ServiceFailed, match="can't be reached"):
        post(run, "http://127.0.0.1:9")
    with pytest.raises(NotFound, match="Not Found"):
        post(run, f"{service}/elsewhere")


def test_a_token_with_a_scope_is_wanted(
    lab: Lab, settings: Settings, made: SnapshotResult, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"reader": {"person": "rosa", "scope": "read"}, "writer": {"person": "ben", "scope": "write"}}
    monkeypatch.setattr("curator.server.access.token_sha256", lambda token: token)
    monkeypatch.setattr(type(lab.catalog), "access_of", lambda self, digest: known.get(digest))
    with running(create_app(lab.catalog, dataclasses.replace(settings, require_token=True), main)) as address:
        for place in (lambda: post(run, address), lambda: Snapshot.open(f"{address}/snapshots/{made.identity}")):
            monkeypatch.delenv("AMATL_TOKEN", raising=False)
            with pytest.raises(ServiceFailed, match=r"wants a token\. Set AMATL_TOKEN"):
                place()
            monkeypatch.setenv("AMATL_TOKEN", "wrong")
            with pytest.raises(ServiceFailed, match="refuses the token"):
                place()
        monkeypatch.setenv("AMATL_TOKEN", "reader")
        assert Snapshot.open(f"{address}/snapshots/{made.identity}").tracks == ["human", "template"]
        with pytest.raises(ServiceFailed, match="This needs the scope write; rosa's token has read"):
            post(run, address)
        monkeypatch.setenv("AMATL_TOKEN", "writer")
        assert post(run, address).sent == 2
    assert [line.person for line in runs(lab.catalog).runs] == ["ben"]


def test_a_report_that_is_too_large(lab: Lab, settings: Settings, run: Path) -> None:
    app = create_app(lab.catalog, dataclasses.replace(settings, max_upload_bytes=500), main)
    with running(app) as address, pytest.raises(ServiceFailed, match="larger than the service accepts"):
        post(run, address)
