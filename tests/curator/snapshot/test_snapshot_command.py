"""The `curator snapshot` command, for a person and a script."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from curator.cli import main
from tests.curator.lab import Lab


@pytest.fixture
def file(tmp_path: Path) -> Path:
    lab = Lab(tmp_path)
    images = [lab.add(f"{number}.png", number, {"legs": number % 4}, "CC0") for number in range(6)]
    lab.commit("human", dict.fromkeys(images[2:], "a beast"))
    lab.commit("empty", dict.fromkeys(images, ""))
    lab.close()
    return tmp_path / "lab.duckdb"


def run(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["snapshot", *arguments, "--catalog", str(file)])


def test_it_says_what_it_made(file: Path, tmp_path: Path) -> None:
    result = run(file, "human@1", "empty@1", "--out", str(tmp_path / "snap"), "--holdout", "1", "--as", "ana")
    assert result.exit_code == 0, result.output
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert lines[0] == f"{tmp_path}/snap: a snapshot of zoo"
    assert "train     3 images" in lines
    assert "held out  1 image" in lines
    assert "track     text        zoo/human@1: 4 captions" in lines
    assert "track     text_empty  zoo/empty@1: 4 captions, 4 empty" in lines
    assert "left out  2 images: not captioned in every version (2 without human)" in lines
    assert "licence   4 images: CC0" in lines
    again = run(file, "human@1", "empty@1", "--out", str(tmp_path / "snap"), "--holdout", "1")
    assert again.exit_code == 0
    assert again.stdout.splitlines()[0] == f"{tmp_path}/snap: exists already, unchanged"


def test_json_is_the_whole_result(file: Path, tmp_path: Path) -> None:
    result = run(file, "empty@1", "--out", str(tmp_path / "snap"), "--where", "legs >= 2", "--json")
    document = json.loads(result.stdout)
    assert document["left_out"] == {"where": 4}
    assert document["train"] + document["held_out"] == 2
    assert json.loads((tmp_path / "snap/manifest.json").read_text())["identity"] == document["identity"]
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (["human"], 2, "BadOption"),
        (["human@7"], 1, "NotFound"),
        (["human@1", "--holdout", "9"], 1, "CannotHoldOut"),
        (["human@1", "--holdout", "1", "--holdout-fraction", "0.5"], 2, "BadOption"),
        (["human@1", "--where", "leg = 3"], 2, "BadExpression"),
        (["human@1", "--holdout-where", "legs = '3'"], 2, "BadExpression"),
        (["human@1", "--holdout", "many"], 2, "BadParameter"),
        ([], 2, "MissingParameter"),
    ],
)
def test_errors_have_their_exit_code_and_are_json_too(
    file: Path, tmp_path: Path, arguments: list[str], code: int, kind: str
) -> None:
    plain = run(file, *arguments, "--out", str(tmp_path / "snap"))
    assert plain.exit_code == code
    assert "Error: " in plain.stderr
    assert "Traceback" not in plain.output
    as_json = run(file, *arguments, "--out", str(tmp_path / "snap"), "--json")
    assert as_json.exit_code == code
    assert json.loads(as_json.stderr)["error"]["type"] == kind
    assert not (tmp_path / "snap").exists()


def test_another_thing_in_the_place_is_an_error(file: Path, tmp_path: Path) -> None:
    (tmp_path / "snap").write_text("mine")
    result = run(file, "human@1", "--out", str(tmp_path / "snap"))
    assert result.exit_code == 1
    assert "isn't overwritten" in result.stderr


def test_help_shows_an_example() -> None:
    result = CliRunner().invoke(main, ["snapshot", "--help"])
    assert "curator snapshot human@1 template@1 --out snapshots/all --holdout 40" in result.stdout
