"""`curator caption` with a model, as a person and as a program meet it; `curator failures`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from curator.captioners.model import MachineFailed, Output
from curator.catalog import Catalog
from curator.cli import main
from tests.curator.captioners.model.fake import Robot, install
from tests.curator.fill import add_images, sha
from tests.curator.lab import empty_catalog


@pytest.fixture
def robot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Robot:
    path = tmp_path / "lab.duckdb"
    path.write_bytes(empty_catalog())
    with Catalog(path) as catalog:
        add_images(catalog, "zoo", [{}] * 6)
    monkeypatch.setenv("CURATOR_CATALOG", str(path))
    made = Robot()
    install(monkeypatch, made)
    return made


def curator(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def caption(*more: str, code: int = 0) -> Result:
    return curator("caption", "zoo", "--strategy", "robot", "--set", "seen", *more, code=code)


def test_a_person_reads_what_it_took_and_what_failed(robot: Robot) -> None:
    robot.answers["0000.png"] = [Output("a fox", None, 1200, 30, 0.5)]
    robot.answers["0004.png"] = [Output(None, "refused"), "an owl"]
    result = caption()
    assert "5  new" in result.stdout
    assert "1  failed: refused" in result.stdout
    assert "(the next run retries them; list: curator failures zoo/seen)" in result.stdout
    assert "6 images in " in result.stdout
    assert "batch size 2, 1,200 tokens in, 30 out, $0.50" in result.stdout
    assert "captioning: 6/6 " in result.stderr
    assert "zoo/seen: refused  1\n  0004.png  robot, 20" in curator("failures", "seen").stdout
    document = json.loads(curator("failures", "zoo/seen", "--json").stdout)
    assert (document["by_reason"], document["lines"][0]["image_sha256"]) == ({"refused": 1}, sha(4))
    caption()
    assert curator("failures").stdout.startswith("No failures")
    assert "There are: zoo/seen" in curator("failures", "sen", code=1).stderr


def test_what_a_model_writes_plays_no_tricks_on_a_terminal(robot: Robot) -> None:
    robot.answers["0000.png"] = [Output("a \x1b[2J fox")]
    assert "a \\x1b[2J fox" in caption().stdout


def test_reasons_that_differ_by_image_dont_fill_the_screen(robot: Robot) -> None:
    robot.answers = {f"{number:04}.png": [Output(None, f"refused, request {number}")] for number in range(6)}
    shown = caption().stdout
    assert shown.count("failed: refused, request") == 5
    assert "1  failed for 1 other reason" in shown


def test_strict_makes_a_failure_an_error(robot: Robot) -> None:
    robot.answers["0004.png"] = [Output(None, "refused")]
    caption("--strict", code=1)


def test_json_is_events_on_stderr_and_one_document_on_stdout(robot: Robot) -> None:
    robot.largest = 1
    result = caption("--json")
    assert json.loads(result.stdout)["new"] == 6
    events = [json.loads(line) for line in result.stderr.splitlines()]
    captioning = [event for event in events if event.get("stage") == "captioning"]
    assert [(event["done"], event["total"]) for event in (captioning[0], captioning[-1])] == [(0, 6), (6, 6)]
    assert captioning[-1]["detail"].endswith("images/s")
    assert {
        "event": "notice",
        "message": "2 images at once don't fit the device's memory; continuing with 1.",
    } in events


def test_a_failed_machine_is_one_line_after_the_events(robot: Robot) -> None:
    robot.answers["0003.png"] = [MachineFailed("The endpoint says 401: no such key. Set OPENAI_API_KEY.")]
    line = "robot: The endpoint says 401: no such key. Set OPENAI_API_KEY. 2 of 6 captions are stored; the same "
    assert f"Error: {line}" in caption(code=1).stderr
    last: Any = json.loads(caption("--json", code=1).stderr.splitlines()[-1])
    assert last["error"]["type"] == "MachineFailed"


def test_a_catalog_that_cant_be_written_is_one_line(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    import duckdb

    def full(*_: object) -> None:
        raise duckdb.IOException("IO Error: Could not write file: No space left on device")

    caption("--limit", "2")
    monkeypatch.setattr(Catalog, "_transaction", full)
    error = caption(code=1).stderr.splitlines()[-1]
    assert error.startswith("Error: ")
    assert "No space left on device. Look at the disk" in error
    assert robot.closed == 2
    monkeypatch.undo()
