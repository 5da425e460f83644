"""Whoever sends a token over plain http to another machine is told once, in one line; nobody else is."""

from __future__ import annotations

import json
import warnings

import click
import pytest
from click.testing import CliRunner

from curator.catalog import remote
from curator.cli import main
from schemas.edge import catch_errors, json_option
from schemas.edge.address import UnencryptedTokenWarning, warn_if_unencrypted
from trainer_client.service import client

OTHERS = ["http://lab.example.org", "http://bo:secret@192.168.1.7:8400", "http://[fd00::1]:8400/", "http://127.example"]
NOT_READ = [
    "https://lab.example.org",
    "http://localhost:8400",
    "http://LOCALHOST",
    "http://127.0.0.2",
    "http://[::1]:1",
]


@pytest.mark.parametrize("address", OTHERS)
def test_another_machine(address: str) -> None:
    with pytest.warns(UnencryptedTokenWarning, match="unencrypted.* Use https") as told:
        warn_if_unencrypted(address)
    assert "secret" not in str(told[0].message)


@pytest.mark.parametrize("address", [*NOT_READ, "http://amatl.localhost"])
def test_this_machine_or_encrypted(address: str) -> None:
    warn_if_unencrypted(address)


@catch_errors
def _twice(as_json: bool) -> None:
    for _ in range(2):
        warn_if_unencrypted("http://lab:8400")
    click.echo("done")


def test_a_command_says_it_once() -> None:
    command = click.command(json_option(_twice))
    for _ in range(2):  # also the second command of a process
        ran = CliRunner().invoke(command)
        assert (ran.stdout, ran.exit_code) == ("done\n", 0)
        assert ran.stderr.startswith("Warning: http://lab: your token goes there unencrypted")
        assert ran.stderr.count("\n") == 1
    ran = CliRunner().invoke(command, ["--json"])
    assert json.loads(ran.stderr)["event"] == "notice"


def test_other_warnings_stay_as_they_are() -> None:
    @click.command()
    @catch_errors
    def command() -> None:
        warnings.warn("something else", RuntimeWarning, stacklevel=1)

    with pytest.warns(RuntimeWarning, match="something else"):
        CliRunner().invoke(command, catch_exceptions=False)


def _nobody(self: remote.Service) -> None:
    raise remote.NobodyThere("nobody")


@pytest.mark.parametrize(
    ("address", "token", "warned"),
    [
        ("http://lab.example.org", "amatl_x", True),
        ("http://lab.example.org", "", False),
        ("https://lab.example.org", "amatl_x", False),
        ("http://127.0.0.1:8400", "amatl_x", False),
    ],
)
def test_curator_by_url(monkeypatch: pytest.MonkeyPatch, address: str, token: str, warned: bool) -> None:
    monkeypatch.setenv("CURATOR_TOKEN", token)
    monkeypatch.setattr(remote.Service, "greet", _nobody)
    ran = CliRunner().invoke(main, ["versions", "--server", address])
    said = ran.stderr.splitlines()
    assert (len(said), said[-1]) == (1 + warned, "Error: nobody")
    assert said[0].startswith("Warning: http://lab.example.org") == warned
    assert "amatl_x" not in ran.output


def test_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    client("http://lab.example.org").close()
    monkeypatch.setenv("AMATL_TOKEN", "amatl_x")
    client("http://127.0.0.1:8400").close()
    with pytest.warns(UnencryptedTokenWarning):
        client("http://lab.example.org").close()
    monkeypatch.setenv("RANK", "1")  # of several processes the first speaks
    client("http://lab.example.org").close()
