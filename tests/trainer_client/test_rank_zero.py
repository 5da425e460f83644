"""Of several processes one speaks; what the launcher is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas.errors import BadOption
from trainer_client import rank_zero


def test_the_first_speaks_at_once_and_tells_the_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv(rank_zero.LAUNCHERS_FILE, str(tmp_path / "error.json"))
    monkeypatch.setattr(rank_zero.time, "sleep", lambda seconds: pytest.fail("the first doesn't wait"))
    with pytest.raises(BadOption, match="no such"), rank_zero.errors_printed_once():
        raise BadOption("no such")
    told = json.loads((tmp_path / "error.json").read_text())["message"]
    assert told["message"] == "no such" and int(told["extraInfo"]["timestamp"]) > 0


def test_another_waits_to_be_ended_and_says_nothing_of_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv(rank_zero.LAUNCHERS_FILE, raising=False)
    monkeypatch.setattr(rank_zero.time, "sleep", waited.append)
    with pytest.raises(BadOption), rank_zero.errors_printed_once():
        raise BadOption("no such")
    assert waited == [rank_zero.WAIT_SECONDS]
    with pytest.raises(SystemExit) as left, rank_zero.errors_printed_once():
        raise KeyboardInterrupt
    assert left.value.code == 130 and len(waited) == 1


def test_interrupting_the_first_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(KeyboardInterrupt), rank_zero.errors_printed_once():
        raise KeyboardInterrupt
