"""The shared edge: errors are one line or JSON, with the promised exit codes, and progress never breaks a pipe."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner

from schemas.edge import Program, catch_errors, json_option, progress_bar
from schemas.errors import AmatlError, BadOption, NotFound


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
