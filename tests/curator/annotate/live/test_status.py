"""`annotate status` and `pull --watch` against a real Label Studio and real previews."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import uvicorn
from click.testing import CliRunner

from curator.annotate.previews.make import preview_folder
from curator.annotate.previews.serve import app
from curator.annotate.pull.every_project import PullAllResult
from curator.annotate.pull.watch import PATH, watch
from curator.annotate.status import ProjectStatus, status
from curator.cli import main
from tests.curator.annotate.live import rounds
from tests.curator.annotate.live.conftest import MakeServer
from tests.curator.annotate.live.rounds import Round
from tests.curator.annotate.live.server import Server, free_port


@pytest.fixture
def images_url(tmp_path: Path) -> Iterator[str]:
    """The previews of the round's catalog, served."""
    (tmp_path / "lab").mkdir()
    port = free_port()
    config = uvicorn.Config(app(preview_folder(tmp_path / "lab" / "lab.duckdb")), port=port, log_level="error")
    serving = uvicorn.Server(config)
    thread = threading.Thread(target=serving.run)
    thread.start()
    while not serving.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    serving.should_exit = True
    thread.join()


@pytest.fixture
def round_(tmp_path: Path, server: Server, images_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Round]:
    monkeypatch.setattr(rounds, "IMAGES_URL", images_url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", server.token)
    made = Round(tmp_path / "lab", server)
    made.push()
    yield made
    made.close()


def only(round_: Round) -> ProjectStatus:
    [found] = status(round_.catalog).projects
    return found


def said(found: ProjectStatus) -> str:
    return " ".join(f"{remark.level}: {remark.message}" for remark in found.remarks)


def test_how_a_project_stands(round_: Round) -> None:
    tasks = round_.tasks()
    round_.answer(tasks[round_.images[0]], "mine", "fixed")
    round_.answer(tasks[round_.images[1]], "", "good")
    round_.answer(tasks[round_.images[2]], None, "reject")
    round_.answer(tasks[round_.images[3]], "x", None, was_cancelled=True)
    round_.server.api("POST", f"/api/tasks/{tasks[round_.images[4]]['id']}/drafts", {"result": [], "lead_time": 1})
    before = only(round_)
    assert (before.to_pull, before.drafts, before.annotations, before.pulled_at) == (3, 1, {}, None)
    round_.pull()
    after = only(round_)
    assert (after.tasks, after.images_answered, after.images_rejected, after.to_pull) == (6, 2, 1, 0)
    assert after.annotations == {"captioned": 1, "emptied": 1, "rejected": 1, "skipped": 1}
    assert after.emptied == [f"{round_.server.url}/projects/{round_.number}/data?task={tasks[round_.images[1]]['id']}"]
    assert (after.captions, after.uncommitted, after.remarks) == (2, 2, [])
    assert status(round_.catalog).healthy


def test_tasks_of_others_are_told_and_never_waited_for(round_: Round) -> None:
    mine = round_.task(0)
    data = {"image": "http://x/y.jpg", "metadata": {}, "captions": {}}
    path = f"/api/projects/{round_.number}/import?return_task_ids=true"
    [other] = round_.server.api("POST", path, [{"data": data}])["task_ids"]
    round_.server.api("POST", f"/api/tasks/{other}/annotations/", {"result": rounds.result_of("x", "good", False)})
    round_.answer(mine)
    assert only(round_).to_pull == 1
    assert round_.pull().strangers == 1
    found = only(round_)
    assert (found.to_pull, found.tasks) == (0, 6)
    assert "note: 7 tasks are there, 6 were sent. Push takes up what is of this dataset" in said(found)


def test_the_pictures_of_pushed_tasks_are_really_served(round_: Round) -> None:
    answer = httpx.get(round_.task(0)["data"]["image"], trust_env=False)
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg"


def test_it_warns_a_week_before_images_can_no_longer_be_seen(round_: Round) -> None:
    round_.push(days=1)
    assert said(only(round_)) == ""
    soon = "UPDATE annotation_tasks SET expires_at = now() + INTERVAL '{}'"
    round_.lab.run(soon.format("8 days"))
    assert said(only(round_)) == ""
    round_.lab.run(soon.format("6 days"))
    assert "note: The images of 6 tasks can be seen until" in said(only(round_))
    round_.lab.run(soon.format("-1 day"))
    assert "problem: The images of 6 tasks can't be seen any more" in said(only(round_))
    assert datetime.fromisoformat(round_.push().expires_at) > datetime.now(UTC)
    assert said(only(round_)) == ""


def test_what_has_to_be_put_right_is_said_and_push_puts_it_right(
    round_: Round, monkeypatch: pytest.MonkeyPatch
) -> None:
    round_.client.update_project(round_.number, {"label_config": "<View/>", "show_collab_predictions": False})
    round_.client.delete_tasks(round_.number, [round_.task(0)["id"]])
    words = said(only(round_))
    assert "isn't ours" in words and "don't see the captions of zoo/blip@1" in words and "5 tasks are there" in words
    round_.push()
    assert said(only(round_)) == ""
    round_.lab.run("UPDATE annotation_pushes SET images_url = 'http://127.0.0.1:9'")
    assert "annotators see no images" in said(only(round_))
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "0" * 40)
    found = only(round_)
    assert "refuses the token" in said(found) and found.to_pull is None


def test_the_commands_print_it_and_leave_with_one_where_something_is_wrong(round_: Round) -> None:
    round_.answer(round_.task(0), "mine", "fixed")
    number = round_.number
    round_.catalog.close()
    catalog = ["--catalog", str(round_.folder / "lab.duckdb")]
    run = CliRunner()
    pulled = run.invoke(main, ["annotate", "pull", *catalog])
    assert pulled.exit_code == 0 and "1 captioned" in pulled.output, pulled.output
    shown = run.invoke(main, ["annotate", "status", "--json", *catalog])
    assert shown.exit_code == 0 and json.loads(shown.stdout)["projects"][0]["images_answered"] == 1
    round_.client.update_project(number, {"label_config": "<View/>"})
    assert run.invoke(main, ["annotate", "status", *catalog]).exit_code == 1
    pulled = run.invoke(main, ["annotate", "pull", *catalog])
    assert pulled.exit_code == 1 and "Error: The labeling config" in pulled.output
    pushed = run.invoke(
        main, ["annotate", "push", "zoo", "--set", "blip", "--to", "human", "--project", round_.title, *catalog]
    )
    assert pushed.exit_code == 0 and "put back" in pushed.output, pushed.output
    round_.reopen()


def test_watching_pulls_what_happens_and_the_webhook_makes_it_at_once(
    make_server: MakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = make_server(LABEL_STUDIO_SSRF_PROTECTION_ENABLED="false")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", own.token)
    round_ = Round(tmp_path / "watched", own)
    round_.push()
    number, task = round_.number, round_.task(0)
    round_.catalog.close()
    told: list[PullAllResult] = []
    warned: list[str] = []
    stop = threading.Event()
    options = {"every": 300.0, "nudge": "127.0.0.1:0", "stop": stop}

    def run() -> None:
        watch(round_.folder / "lab.duckdb", told.append, warned.append, **options)  # type: ignore[arg-type]

    thread = threading.Thread(target=run)
    thread.start()
    _until(lambda: len(told) == 1)
    assert [hook.url.endswith(PATH) for hook in round_.client.webhooks(number)] == [True]
    began = time.monotonic()
    round_.answer(task, "mine", "fixed")
    _until(lambda: len(told) == 2)
    assert time.monotonic() - began < 60 and told[1].pulled[0].new == 1
    stop.set()
    thread.join()
    assert round_.client.webhooks(number) == [] and warned == []
    round_.reopen()
    assert round_.captions() == {round_.images[0]: "mine"}
    round_.close()


def test_watching_waits_for_a_server_that_restarts(
    make_server: MakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = make_server()
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", own.token)
    monkeypatch.setattr("curator.annotate.label_studio.http.FIRST_PAUSE_SECONDS", 0.01)
    round_ = Round(tmp_path / "watched", own)
    round_.push()
    task = round_.task(0)
    round_.catalog.close()
    told: list[PullAllResult] = []
    warned: list[str] = []
    stop = threading.Event()
    arguments = (round_.folder / "lab.duckdb", told.append, warned.append)
    thread = threading.Thread(target=watch, args=arguments, kwargs={"every": 0.5, "stop": stop})
    thread.start()
    _until(lambda: len(told) == 1)
    own.stop()
    _until(lambda: bool(warned))
    own.start()
    round_.answer(task, "mine", "fixed")
    _until(lambda: len(told) == 2)
    stop.set()
    thread.join()
    assert told[1].pulled[0].new == 1 and all("Trying again" in line for line in warned)
    round_.reopen()
    round_.close()


def _until(holds: object, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
