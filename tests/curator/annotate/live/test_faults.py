"""What the network and a failing server do to push and pull: a clear line, nothing half-done, the next run repairs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from curator.annotate.label_studio.client import LabelStudio
from curator.annotate.label_studio.http import LabelStudioFailed, TokenRefused, Unreachable
from curator.annotate.pull.every_project import pull_all
from curator.annotate.push import send
from schemas.errors import AmatlError
from tests.curator.annotate.live.conftest import MakeServer
from tests.curator.annotate.live.proxy import Proxy
from tests.curator.annotate.live.rounds import Round
from tests.curator.annotate.live.server import Server

SLOW = 3.0  # longer than the client waits


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server.url) as made:
        yield made


@pytest.fixture
def round_(tmp_path: Path, server: Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Round]:
    """Through the proxy, in batches of 4, by a client that doesn't wait long."""
    monkeypatch.setattr(send, "BATCH", 4)
    made = Round(tmp_path / "lab", server, images=10)
    made.client = LabelStudio(proxy.url, server.token, timeout=2, import_timeout=2, pause=lambda s: time.sleep(s / 10))
    yield made
    made.close()


def whole(round_: Round) -> None:
    """Every image is there once, with its caption, and the catalog knows its number."""
    there = round_.tasks()
    assert set(there) == set(round_.images)
    known = round_.catalog.annotation_tasks(round_.record["project_key"]).filter(gone=False)
    assert dict(known.select("image_sha256", "task_id").iter_rows()) == {i: task["id"] for i, task in there.items()}
    assert all(task["predictions"] for task in there.values())


@pytest.mark.parametrize("kind", ["drop", "lost", "slow", "500", "502", "500-after"])
def test_an_import_that_fails_once_is_neither_lost_nor_doubled(round_: Round, proxy: Proxy, kind: str) -> None:
    proxy.fail(kind, "POST", "/import?", seconds=SLOW)
    result = round_.push()
    assert result.tasks == 10
    whole(round_)


def test_an_import_that_arrives_after_it_was_sent_again_leaves_no_double(round_: Round, proxy: Proxy) -> None:
    proxy.fail("late", "POST", "/import?", seconds=2 + 1.5 + 2)  # after the time-out and all looks
    try:
        round_.push()
    finally:
        for thread in proxy.late:
            thread.join()
    assert round_.client.totals(round_.number)["total"] in (10, 14)
    round_.push()
    whole(round_)


@pytest.mark.parametrize("kind", ["drop", "lost", "slow", "500", "500-after"])
def test_a_project_that_may_have_been_made_is_made_once(round_: Round, proxy: Proxy, kind: str) -> None:
    proxy.fail(kind, "POST", "/api/projects/", seconds=SLOW)
    round_.push()
    assert len(round_.client.projects_titled(round_.title)) == 1
    whole(round_)


@pytest.mark.parametrize("kind", ["drop", "lost", "slow", "500-after"])
def test_captions_replaced_through_faults_are_replaced_once(round_: Round, proxy: Proxy, kind: str) -> None:
    round_.push()
    round_.propose("blip", dict.fromkeys(round_.images, "better"))
    proxy.fail(kind, "POST", "/import/predictions", seconds=SLOW)
    proxy.fail("lost", "PATCH", "/api/projects/")
    round_.push()
    for task in round_.tasks().values():
        assert sorted(found["model_version"] for found in task["predictions"]) == ["zoo/blip@1", "zoo/blip@2"]
    assert round_.client.project(round_.number).model_version == "zoo/blip@2"


def test_renewing_goes_on_where_it_ended(round_: Round, proxy: Proxy) -> None:
    round_.push()
    round_.propose("other", dict.fromkeys(round_.images, "a thing"))
    proxy.fail("400", "PATCH", "/api/tasks/")
    with pytest.raises(LabelStudioFailed, match="400"):
        round_.push()
    proxy.fail("lost", "PATCH", "/api/tasks/", times=2)
    assert round_.push().updated == 10
    assert all(task["data"]["captions"] == {"other": "a thing"} for task in round_.tasks().values())


@pytest.mark.parametrize("status", ["401", "403", "404", "409", "500"])
@pytest.mark.parametrize("what", ["POST /import?", "GET /api/tasks", "GET /api/projects"])
def test_a_push_that_is_refused_says_so_and_the_next_repairs(
    round_: Round, proxy: Proxy, status: str, what: str
) -> None:
    round_.push(limit=4)
    method, _, path = what.partition(" ")
    proxy.fail(status, method, path, times=100)
    if (status, what) == ("404", "GET /api/projects"):
        proxy.fail("500", "GET", "/api/projects", times=100)
        proxy.faults.reverse()
    with pytest.raises(AmatlError) as raised:
        round_.push(limit=10)
    assert status in str(raised.value) or "500" in str(raised.value)
    assert "\n" not in str(raised.value) and round_.server.token not in str(raised.value)
    proxy.faults.clear()
    round_.push(limit=10)
    whole(round_)


@pytest.mark.parametrize("kind", ["drop", "lost", "slow", "500", "502"])
@pytest.mark.parametrize("path", ["/api/tasks", "/api/projects", "/api/users"])
def test_a_pull_asks_again(round_: Round, proxy: Proxy, kind: str, path: str) -> None:
    round_.push()
    round_.answer(round_.task(0), "mine", "fixed")
    proxy.fail(kind, "GET", path, seconds=SLOW)
    assert round_.pull().new == 1
    assert round_.captions() == {round_.images[0]: "mine"}


def test_a_pull_that_gives_up_in_the_middle_has_kept_whole_pages(
    round_: Round, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LabelStudio.tasks_since, "__defaults__", (3,))
    round_.push()
    round_.pull()
    for image, task in round_.tasks().items():
        round_.answer(task, f"of {image[:4]}", "fixed")
    tasks = LabelStudio._tasks
    pages: list[int] = []

    def breaks(self: LabelStudio, *arguments: Any) -> dict[str, Any]:
        if arguments[2].get("ordering") == ["tasks:updated_at"]:  # a page of changes
            pages.append(1)
        if len(pages) == 2:
            proxy.fail("500", "GET", "/api/tasks", times=100)
        return tasks(self, *arguments)

    monkeypatch.setattr(LabelStudio, "_tasks", breaks)
    with pytest.raises(LabelStudioFailed, match="500"):
        round_.pull()
    proxy.faults.clear()
    kept = len(round_.captions())
    assert 0 < kept < 10 and kept == len(round_.seen("1"))
    monkeypatch.setattr(LabelStudio, "_tasks", tasks)
    assert round_.pull().new == 10 - kept
    assert len(round_.captions()) == 10 == len(round_.seen("1"))


def test_a_server_that_is_down_or_restarts(make_server: MakeServer, tmp_path: Path) -> None:
    own = make_server()
    round_ = Round(tmp_path / "lab", own)
    round_.client = LabelStudio(own.url, own.token, timeout=5, pause=lambda s: time.sleep(s / 20))
    round_.push()
    round_.answer(round_.task(0), "before", "fixed")
    own.stop()
    with pytest.raises(Unreachable, match="curator annotate start"):
        round_.pull()
    with pytest.raises(Unreachable, match="Is it running"):
        round_.push()
    own.start()
    round_.answer(round_.task(1), "while nobody pulled", "fixed")
    assert round_.pull().new == 2
    assert round_.push().unchanged == 6
    round_.close()


def test_the_command_line_says_it_in_one_line(round_: Round, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    round_.push()
    round_.catalog.close()
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "1" * 40)
    found = pull_all(round_.folder / "lab.duckdb")
    assert [failure.kind for failure in found.failures] == [TokenRefused.__name__]
    assert "1" * 40 not in found.failures[0].message
    round_.reopen()


def test_eight_people_at_once_lose_nothing(round_: Round, tmp_path: Path, server: Server) -> None:
    """400 annotations by 8 people, pulled all the while."""
    busy = Round(tmp_path / "busy", server, images=400)
    busy.push()
    people = [server.add_annotator(f"load-{number}-{tmp_path.name}@example.org") for number in range(8)]
    tasks = list(busy.tasks().values())

    def work(number: int) -> None:
        for place in range(number, 400, 8):
            while sum(map(bool, pulled)) < place // 100 and time.monotonic() < ends:
                time.sleep(0.05)  # a quarter more only once some of the one before were pulled
            busy.answer(tasks[place], f"{people[number].email} on {place}", "fixed", people[number].token)

    done, ends = threading.Event(), time.monotonic() + 300
    pulled: list[int] = []

    def answer_all() -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        done.set()

    thread = threading.Thread(target=answer_all)
    thread.start()
    while not done.is_set():
        pulled.append(busy.pull().new)
        time.sleep(0.2)
    thread.join()
    pulled.append(busy.pull().new)
    assert sum(pulled) == 400 == len(busy.seen("1")) and len([count for count in pulled if count]) > 2
    by_task = {task["id"]: place for place, task in enumerate(tasks)}
    for task_id, person, text in busy.seen("task_id, person, text"):
        assert text == f"{person} on {by_task[task_id]}"
    assert len(busy.captions()) == 400
    busy.close()
