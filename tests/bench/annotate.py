"""Pushing 10,000 tasks to a real Label Studio, pulling 50 changes from it; the baseline: one bulk import by itself.

Needs Label Studio's environment, as `curator annotate start` makes it (or AMATL_LABEL_STUDIO).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from curator.annotate.label_studio.client import LabelStudio
from curator.annotate.label_studio.labeling_page import labeling_config
from curator.annotate.previews.make import make_previews, preview_folder
from tests.bench.table import Row
from tests.curator.annotate.live.rounds import Round
from tests.curator.annotate.live.server import Server, template

TASKS = 10_000
CHANGES = 50


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def bench() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = Server(folder / "server", template()).start()
        try:
            return _measured(folder, server)
        finally:
            server.stop()


def _measured(folder: Path, server: Server) -> list[Row]:
    round_ = Round(folder / "lab", server, images=TASKS)
    paths = [(round_.folder / "images" / f"{n:05}.png", image) for n, image in enumerate(round_.images)]
    failed, previews = timed(lambda: make_previews(paths, preview_folder(round_.catalog.path)))
    assert not failed
    pushed, pushing = timed(round_.push)
    again, nothing = timed(round_.push)
    if (pushed.sent, again.unchanged) != (TASKS, TASKS):
        raise AssertionError("not what was to be sent")
    bulk = _bulk(round_.client, list(round_.tasks().values()))
    _, first = timed(round_.pull)
    tasks = list(round_.tasks().values())
    for task in tasks[:: TASKS // CHANGES]:
        round_.answer(task, "changed", "fixed")
    result, pulling = timed(round_.pull)
    if result.new != CHANGES:
        raise AssertionError(f"{result.new} of {CHANGES} changes seen")
    _, unchanged = timed(round_.pull)
    command = _command(round_, tasks)
    _, all_tasks = timed(lambda: list(round_.client.tasks(round_.number, "data,annotations,predictions")))
    round_.close()
    rate = f"{pushing:.1f} s, {TASKS / pushing:,.0f} tasks/s; the import alone {bulk:.1f} s"
    also = f"pushed again, nothing to do: {nothing:.1f} s; previews before it {TASKS / previews:,.0f}/s"
    return [
        Row(f"push {TASKS:,} tasks", "one bulk import of them", bulk / pushing, f"{rate}; {also}"),
        Row(
            f"pull {CHANGES} changes of {TASKS:,} tasks",
            "read all tasks",
            all_tasks / pulling,
            f"{pulling:.2f} s; the whole command {command:.2f} s; nothing new {unchanged:.2f} s; the first pull "
            f"{first:.2f} s; all tasks {all_tasks:.1f} s",
        ),
    ]


def _bulk(client: LabelStudio, tasks: list[dict[str, Any]]) -> float:
    """Seconds of one request with all tasks, into a project of its own."""
    number = client.create_project({"title": "bulk", "label_config": labeling_config()})
    proposals = ({"model_version": "zoo/blip@1", "result": task["predictions"][0]["result"]} for task in tasks)
    payload = [{"data": task["data"], "predictions": [found]} for task, found in zip(tasks, proposals, strict=True)]
    return timed(lambda: client.import_tasks(number, payload))[1]


def _command(round_: Round, tasks: list[dict[str, Any]]) -> float:
    """Seconds of `curator annotate pull` from the shell, for as many changes again."""
    for task in tasks[1 :: TASKS // CHANGES]:
        round_.answer(task, "changed again", "fixed")
    path = str(round_.catalog.path)
    round_.catalog.close()
    command = [sys.executable, "-m", "curator", "annotate", "pull", "--catalog", path]
    environment = os.environ | {"LABEL_STUDIO_API_KEY": round_.server.token}
    done, seconds = timed(lambda: subprocess.run(command, env=environment, capture_output=True, text=True))
    if done.returncode or f"{CHANGES}  new" not in done.stdout:
        raise AssertionError(done.stdout + done.stderr)
    round_.reopen()
    return seconds
