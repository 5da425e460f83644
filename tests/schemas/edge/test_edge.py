"""The shared edge: errors are one line or JSON, with the promised exit codes, and progress never breaks a pipe."""

from __future__ import annotations

import errno
import io
import itertools
import json
import re
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from schemas.edge import EVENTS, Program, catch_errors, json_option, listeners, progress_bar
from schemas.errors import AmatlError, BadOption, NotFound
from schemas.progress import TO_THE_END


@click.group(cls=Program)
def program() -> None:
    """A program to test the edge with."""


@program.command()
@click.argument("kind")
@json_option
@catch_errors
def raise_(kind: str, as_json: bool) -> None:
    errors: dict[str, BaseException] = {
        "user": NotFound("No set named 'x'. There is 'y'."),
        "option": BadOption("--epochs: must be at least 1."),
        "default": NotFound(),
        "os": FileNotFoundError(2, "No such file or directory", "a.png"),
        "interrupt": KeyboardInterrupt(),
    }
    raise errors[kind]


@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [
        ("user", 1, "No set named 'x'. There is 'y'."),
        ("option", 2, "--epochs: must be at least 1."),
        ("default", 1, "There is no such thing here."),
        ("os", 1, "a.png: No such file or directory"),
        ("interrupt", 130, "Interrupted. What was finished is kept; the same command goes on from there."),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(kind: str, code: int, message: str) -> None:
    plain = CliRunner().invoke(program, ["raise-", kind])
    assert (plain.exit_code, plain.stderr) == (code, f"Error: {message}\n")
    as_json = CliRunner().invoke(program, ["raise-", kind, "--json"])
    assert as_json.exit_code == code
    assert json.loads(as_json.stderr)["error"]["message"] == message


@pytest.mark.parametrize("arguments", [["raise-"], ["raise-", "user", "--nope"], ["nope"]])
def test_usage_errors_leave_with_2_and_are_json_too(arguments: list[str]) -> None:
    assert CliRunner().invoke(program, arguments).exit_code == 2
    as_json = CliRunner().invoke(program, [*arguments, "--json"])
    assert as_json.exit_code == 2
    assert json.loads(as_json.stderr)["error"]["message"]


def test_every_error_says_something_by_default() -> None:
    kinds = AmatlError.__subclasses__()
    assert kinds
    assert all(str(kind()) for kind in kinds)


def test_progress_is_lines_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as progress:
        for done in range(4):
            progress("hashing", done, 3, "ok")
    assert capsys.readouterr().err.splitlines() == ["hashing: 0/3 ok", "hashing: 3/3 ok"]
    with progress_bar(as_json=True) as progress:
        progress("hashing", 1, 3)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("columns", [60, 120])
def test_a_narrow_terminal_cuts_neither_counts_nor_details(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    for name, value in {"COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    with progress_bar() as progress:
        progress("verifying checksums", 18, 18)
        progress(
            "training", 34, 3600, f"epoch 3/300, loss 1.1221, 4.4 images/s, 13 min 34 s {TO_THE_END} (cost 0.1 of 9)"
        )
    shown = " ".join(terminal.getvalue().split("verifying checksums")[-1].split())
    assert "…" not in shown and "34/3600" in shown
    assert "13 min 34 s to the end (cost 0.1 of 9)" in re.sub(r" (?=\S)", " ", shown)
    assert "-:--:--" not in shown  # One time left is enough.


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("as_json", [True, False])
def test_a_closed_terminal_does_not_end_the_work(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, as_json: bool
) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.EIO, "Input/output error")

        def isatty(self) -> bool:
            return is_terminal

    monkeypatch.setenv(EVENTS, "1")
    monkeypatch.setattr("sys.stderr", Gone())
    done = 0
    with progress_bar(as_json) as progress:
        for done in range(4):
            progress("hashing", done, 3, "ok")
    assert done == 3


def test_plain_lines_tell_the_time_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 0.0, 30.0, 30.0, 30.0, 31.0, 31.0, 31.0])
    monkeypatch.setattr("schemas.edge.time", SimpleNamespace(monotonic=lambda: next(now)))
    with listeners() as (progress, notice):
        notice("12 images were captioned with other options.")
        progress("captioning", 0, 300)
        progress("captioning", 100, 300, "3.3 images/s")
        progress("captioning", 110, 300, "3.5 images/s")
    assert capsys.readouterr().err.splitlines() == [
        "12 images were captioned with other options.",
        "captioning: 0/300",
        "captioning: 100/300 3.3 images/s, 1 min left",
    ]


def test_a_job_s_progress_is_events_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EVENTS, "1")
    with progress_bar(as_json=True) as progress:
        progress("hashing", 3, 3)
    (event,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert (event["event"], event["stage"], event["done"]) == ("progress", "hashing", 3)


def test_events_are_lines_of_json_at_most_one_a_second(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = itertools.count(step=0.01)
    monkeypatch.setattr("schemas.edge.time", SimpleNamespace(monotonic=lambda: next(now)))
    with listeners(as_json=True) as (progress, notice):
        notice("a smaller batch")
        for done in range(4):
            progress("captioning", done, 3, "ok")
        progress("counting", 5, None)
    captured = capsys.readouterr()
    assert captured.out == ""
    first, start, end, other = map(json.loads, captured.err.splitlines())
    assert first == {"event": "notice", "message": "a smaller batch"}
    assert (start["stage"], start["done"], start["total"], start["per_second"]) == ("captioning", 0, 3, None)
    assert (end["done"], end["seconds_left"]) == (3, 0.0)
    assert end["per_second"] > 0
    assert (other["stage"], other["total"], other["seconds_left"]) == ("counting", None, None)
