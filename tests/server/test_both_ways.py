"""Every command does the same, to the letter, whether the catalog's file is free or a service holds it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from curator.cli import main
from tests.server.serving import Serving

pytestmark = pytest.mark.slow
TEMPLATE = ("caption", "zoo", "--strategy", "template", "--set", "template", "-o")
# In an order in which each has something to do. {folder} is where the pictures are.
STORY: tuple[tuple[str, ...], ...] = (
    ("ingest", "{folder}/zoo", "--dataset", "zoo", "--metadata", "{folder}/about.csv", "--join-on", "file_name"),
    ("ingest", "{folder}/zoo", "--dataset", "zoo"),
    ("rejects", "zoo"),
    (*TEMPLATE, "template=a drawing of ${title}"),
    ("caption", "zoo", "--strategy", "fixed", "--set", "fixed", "-o", "text=a drawing"),
    ("caption", "zoo", "--strategy", "nonsense", "--set", "x"),
    ("commit", "zoo/template", "-m", "first", "--as", "ana"),
    ("commit", "zoo/template", "-m", "again", "--as", "ana"),
    (*TEMPLATE, "template=a painting of ${title}"),
    ("replace", "zoo/template", "--find", "painting", "--with", "sketch", "--as", "ben", "--dry-run"),
    ("replace", "zoo/template", "--find", "painting", "--with", "sketch", "--where", "title = 'fox'", "--as", "ben"),
    ("commit", "zoo/template", "-m", "second", "--as", "ana"),
    ("versions",),
    ("versions", "zoo/template"),
    ("diff", "zoo/template@1", "zoo/template@2"),
    ("restore", "zoo/template@1", "--as", "ana"),
    ("replace", "zoo/template", "--undo", "--as", "ben"),
    ("accept", "zoo/template", "--where", "title = 'fox'", "--as", "ben"),
    ("accept", "zoo/template", "--undo", "--as", "ben"),
    ("failures", "zoo/template"),
    ("stats", "zoo/template@2"),
    ("history", "fox.png"),
    ("check", "zoo/template@2", "--field", "title"),
    ("check", "zoo/template@2", "--strict", "--trigger", "amatl"),
    ("compare", "zoo", "--sets", "template@1,template@2"),
    ("snapshot", "template@1", "template@2", "--out", "{folder}/snapshot", "--holdout", "1", "--as", "ana"),
    ("snapshot", "template@1", "template@2", "--out", "{folder}/snapshot", "--holdout", "1", "--as", "ana"),
    ("snapshot", "template@1", "--out", "{folder}/more", "--holdout", "1", "--dry-run"),
    ("snapshot", "nothing@1", "--out", "{folder}/other"),
    ("doctor",),
    ("token", "list"),
    ("token", "revoke", "7"),
    ("annotate", "status"),
    ("annotate", "pull"),
    ("annotate", "push", "zoo", "--set", "template", "--to", "human"),
    ("annotate", "prefer", "zoo", "--sets", "template@1,template@2"),
)
# Not about a catalog that is there (init), or the service itself; `token add` prints what nobody can know before.
NOT_BOTH = {"init", "serve", "token add", "annotate start"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "zoo").mkdir()
    rows = ["file_name,title"]
    for number, name in enumerate(("fox", "wolf", "bear", "frog")):
        colour = (60 * number, 255 - 60 * number, 90)
        Image.effect_mandelbrot((64, 48), (-2, -1, 1 - number / 4, 1), 40 + number).convert("RGB").save(
            folder / "zoo" / f"{name}.png"
        )
        Image.new("RGB", (8, 8), colour).save(folder / f"{name}.png")
        rows.append(f"{name}.png,{name}")
    (folder / "zoo" / "broken.png").write_bytes((folder / "zoo" / "fox.png").read_bytes()[:90])
    (folder / "about.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def told(folder: Path, catalog: Path, as_json: bool) -> list[tuple[tuple[str, ...], int, str, str]]:
    """The whole story in a folder: command, exit code and both outputs, less times and the folder's name."""
    found = []
    for words in STORY:
        arguments = [word.replace("{folder}", str(folder)) for word in words]
        more = ["--json"] if as_json else []
        result: Result = CliRunner().invoke(main, [*arguments, *more, "--catalog", str(catalog)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        texts = (plain(text, folder) for text in (result.stdout, result.stderr))
        found.append((words, result.exit_code, *texts))
    return found


def plain(text: str, folder: Path) -> str:
    text = text.replace(str(folder), "FOLDER")
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?", "TIME", text)
    text = re.sub(r'"(seconds\w*|\w*_s|per_second|\w*_seconds)": [\d.e-]+', r'"\1": N', text)
    return re.sub(r"\d+(\.\d+)? (m?s|images/s)\b", "N s", text)


@pytest.fixture(params=[False, True], ids=["for people", "json"])
def as_json(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def folders(tmp_path: Path, pictures: Path) -> Iterator[tuple[Path, Path]]:
    """Two with the same pictures and an empty catalog each, their names equally long: tables are as wide as paths."""
    for name in ("file", "held"):
        shutil.copytree(pictures, tmp_path / name)
        made = CliRunner().invoke(main, ["init", str(tmp_path / name / "lab.duckdb")])
        assert made.exit_code == 0
    yield tmp_path / "file", tmp_path / "held"


def test_all_commands_with_and_without_a_service(folders: tuple[Path, Path], as_json: bool) -> None:
    by_file, held = folders
    expected = told(by_file, by_file / "lab.duckdb", as_json)
    serving = Serving(held / "lab.duckdb")
    try:
        found = told(held, held / "lab.duckdb", as_json)
    finally:
        assert serving.stop() == 0
    for one, other in zip(expected, found, strict=True):
        assert other == one


def test_the_story_has_every_command() -> None:
    def leaves(group: click.Group, before: str = "") -> Iterator[str]:
        for name, command in group.commands.items():
            if isinstance(command, click.Group):
                yield from leaves(command, f"{before}{name} ")
            else:
                yield before + name

    names = set(leaves(main))
    in_story = {name for name in names if any(words[: len(name.split())] == tuple(name.split()) for words in STORY)}
    assert in_story == names - NOT_BOTH
