"""The commands that may run as jobs, and the paths they may name."""

from __future__ import annotations

from pathlib import Path

import pytest

from curator.cli import main
from curator.server.job_commands import check_command, knows_person
from schemas.errors import BadOption

CAPTION = ["caption", "zoo", "--strategy", "fixed", "--set", "fixed", "-o", "text=a drawing, 1/2 as large"]


@pytest.mark.parametrize(
    "words",
    [
        CAPTION,
        ["ingest", "/photos", "--dataset", "zoo"],
        ["snapshot", "template@1", "--out", "snapshots/first", "--where", "license = 'CC0'"],
        ["annotate", "push", "zoo", "--set", "template", "--to", "human"],
    ],
)
def test_long_stages_are_jobs(tmp_path: Path, words: list[str]) -> None:
    assert check_command(main, words, tmp_path, None) == words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing: not a job command. Choose one of: ingest, caption"),
        (["serve"], "serve: not a job"),
        (["token", "add", "eve"], "token add: not a job"),
        (["annotate", "start"], "annotate start: not a job"),
        (["ingest", "/photos"], "Missing option '--dataset'"),
        (["caption", "zoo", "--nonsense"], "No such option"),
        (["caption", "--help"], "a job can't show help"),
        ([*CAPTION, "--catalog", "/other.duckdb"], "--catalog: the service sets this option"),
        ([*CAPTION, "--server=http://127.0.0.1:1"], "--server=http://127.0.0.1:1: the service sets this"),
        ([*CAPTION, "--as", "somebody else"], "--as: the service sets this"),
        (["annotate", "pull", "--watch"], "--watch: the service sets this"),
    ],
)
def test_nothing_else_is(tmp_path: Path, words: list[str], said: str) -> None:
    with pytest.raises(BadOption) as raised:
        check_command(main, words, tmp_path, None)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    "words",
    [
        ["ingest", "/etc", "--dataset", "zoo"],
        ["ingest", "../..", "--dataset", "zoo"],
        ["ingest", "~root", "--dataset", "zoo"],
        ["ingest", "{allowed}/../secret", "--dataset", "zoo"],
        ["ingest", "{allowed}/link", "--dataset", "zoo"],
        ["ingest", "{allowed}", "--dataset", "zoo", "--metadata=/etc/passwd"],
        ["caption", "zoo", "--strategy", "column", "--set", "x", "-o", "file=/etc/passwd", "-o", "column=a"],
        ["caption", "zoo", "--strategy", "column", "--set", "x", "-ofile=/etc/passwd", "-o", "column=a"],
        ["caption", "zoo", "--strategy", "blip", "--set", "x", "-o", "model=../../../key"],
        ["caption", "zoo", "--strategy", "openai", "--set", "x", "-o", "model=m", "-o", "base_url=http://there"],
        ["caption", "zoo", "--strategy", "openai", "--set", "x", "-o", "model=m", "-obase_url=http://there"],
        ["snapshot", "template@1", "--out", "/tmp/elsewhere"],
    ],
)
def test_of_others_it_stays_in_the_folders_that_were_named(tmp_path: Path, words: list[str]) -> None:
    allowed, made = tmp_path / "allowed", tmp_path / "service" / "jobs" / "made"
    allowed.mkdir()
    made.mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (allowed / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(BadOption):
        check_command(main, [word.replace("{allowed}", str(allowed)) for word in words], made, (allowed,))


def test_of_others_it_may_use_the_folders_that_were_named(tmp_path: Path) -> None:
    allowed, made = tmp_path / "allowed", tmp_path / "made"
    for words in (
        ["ingest", str(allowed / "photos"), "--dataset", "zoo", "--metadata", str(allowed / "about.csv")],
        ["snapshot", "template@1", "--out", "snapshots/first"],
        ["caption", "zoo", "--strategy", "blip", "--set", "x", "-o", "model=Salesforce/blip-image-captioning-base"],
        CAPTION,
    ):
        assert check_command(main, words, made, (allowed,)) == words


def test_who_asked_is_told_where_it_is_kept() -> None:
    assert knows_person(main, CAPTION)
    assert not knows_person(main, ["check", "zoo/template"])
