"""Every command prints the same with a local catalog, a service on this machine, and a remote service."""

from __future__ import annotations

import difflib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from curator.captioners.model import Item, Output
from curator.cli import main
from curator.images.locations import machine
from curator.images.read import read_rgb
from curator.person import user_name
from schemas import edge
from tests.curator.captioners.model.fake import Robot, install
from tests.curator.compare.random_clip import write_random_clip
from tests.curator.server.serving import Serving

pytestmark = pytest.mark.slow
TEMPLATE = ("caption", "zoo", "--strategy", "template", "--set", "template", "-o")
# In an order in which each has something to do. {folder} is where the pictures are.
STORY: tuple[tuple[str, ...], ...] = (
    ("ingest", "{folder}/zoo", "--dataset", "zoo", "--metadata", "{folder}/about.csv", "--join-on", "file_name"),
    ("ingest", "{folder}/zoo", "--dataset", "zoo"),
    ("rejects", "zoo"),
    ("moved", "{folder}/nothing", "{folder}/zoo"),
    (*TEMPLATE, "template=a drawing of ${title}"),
    ("caption", "zoo", "--strategy", "fixed", "--set", "fixed", "-o", "text=a drawing"),
    ("caption", "zoo", "--strategy", "nonsense", "--set", "x"),
    ("caption", "zoo", "--strategy", "sidecar", "--set", "beside"),
    ("caption", "zoo", "--strategy", "column", "--set", "alt", "-o", "file={folder}/about.csv", "-o", "column=title"),
    ("caption", "zoo", "--strategy", "robot", "--set", "seen", "--dry-run", "--out", "{folder}/dry.html"),
    ("caption", "zoo", "--strategy", "robot", "--set", "seen"),
    ("caption", "zoo", "--strategy", "robot", "--set", "seen"),
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
    ("compare", "zoo", "--sets", "template@1,seen", "--clip", "{folder}/clip", "--out", "{folder}/page.html"),
    ("snapshot", "template@1", "template@2", "--out", "{folder}/snapshot", "--holdout", "1", "--as", "ana"),
    ("snapshot", "template@1", "template@2", "--out", "{folder}/snapshot", "--holdout", "1", "--as", "ana"),
    ("snapshot", "template@1", "--out", "{folder}/more", "--holdout", "1", "--dry-run"),
    ("snapshot", "nothing@1", "--out", "{folder}/other"),
    ("doctor",),
    ("token", "list"),
    ("token", "revoke", "7"),
    ("prune", "--dry-run"),
    ("annotate", "status"),
    ("annotate", "pull"),
    ("annotate", "push", "zoo", "--set", "template", "--to", "human", "--images-url", "http://127.0.0.1:1"),
    ("annotate", "prefer", "zoo", "--sets", "template@1,template@2", "--images-url", "http://127.0.0.1:1"),
)
# Who may use a service, and what is on its disk, is said on its own machine alone.
NOT_BY_URL = {("token", "list"), ("token", "revoke", "7"), ("prune", "--dry-run")}
PEOPLE = r"\b(ana|ben|cyd)\b"
# Not about a catalog that is there (init), or the service itself; `token add` prints what nobody can know before.
NOT_BOTH = {"init", "serve", "token add", "annotate start"}


@dataclass(frozen=True)
class Way:
    """A folder of images, a catalog, and the options that name the catalog."""

    folder: Path
    options: Sequence[str]
    names: Mapping[str, str]

    def told(self, as_json: bool) -> list[tuple[tuple[str, ...], int, str, str]]:
        """Return commands, exit codes and outputs, without times, people and the folder's name."""
        found = []
        for words in STORY:
            arguments = [word.replace("{folder}", str(self.folder)) for word in words]
            more = ["--json"] if as_json else []
            result: Result = CliRunner().invoke(main, [*arguments, *more, *self.options])
            assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
            found.append((words, result.exit_code, self.plain(result.stdout), self.plain(result.stderr)))
        return found

    def plain(self, text: str) -> str:
        """Replace the URL, the machine's name and cache paths of a remote catalog."""
        for name, meant in self.names.items():
            text = text.replace(name, meant)
        text = text.replace("--server CATALOG", "--catalog CATALOG").replace(str(self.folder), "FOLDER")
        text = re.sub(r"FOLDER/(zoo/\w+\.png|cache/originals/../[0-9a-f]{64})", "PICTURE", text)
        text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?", "TIME", text)
        text = re.sub(r'"(seconds\w*|\w*_s|\w*per_second|\w*_seconds)": [\d.e-]+', r'"\1": N', text)
        text = re.sub(r"\d+(\.\d+)? (m?s|images/s|min)\b", "N s", text)
        text = re.sub(r"[\d,.]+( per second| images/s)", r"N\1", text)
        text = re.sub(r"^(sending images|reading images|looking at).*\n", "", text, flags=re.M)
        return re.sub(PEOPLE, "WHO", text)


class Looking(Robot):
    """A strategy whose caption depends on the image's bytes."""

    def preprocess(self, item: Item) -> str:
        pixels_HWC = read_rgb(item.path)
        return f"{pixels_HWC.shape[1]} wide, {int(pixels_HWC.mean())} bright"

    def generate(self, items: Sequence[Item], prepared: Sequence[str]) -> list[Output]:
        return [Output(text) for text in prepared]


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
    (folder / "zoo" / "wolf.txt").write_text("a wolf, said its neighbour", encoding="utf-8")
    (folder / "about.csv").write_text("\n".join(rows), encoding="utf-8")
    write_random_clip(folder / "clip")
    return folder


@pytest.fixture(params=[False, True], ids=["for people", "json"])
def as_json(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=["socket", "url"])
def by(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CURATOR_URL", "CURATOR_TOKEN", "CURATOR_TOKEN_FILE", "CURATOR_CATALOG", "CURATOR_MACHINE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY", "CURATOR_IMAGES_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOGNAME", "cyd")
    monkeypatch.setenv("COLUMNS", "1000")
    # However long they take: a line of progress at a stage's start and at its end.
    monkeypatch.setattr("schemas.edge._due", lambda every_seconds, due=edge._due: due(float("inf")))
    assert user_name() == "cyd"
    install(monkeypatch, Looking())


@pytest.fixture
def folders(tmp_path: Path, pictures: Path) -> tuple[Path, Path]:
    """Return two labs with the same images. Their names are equally long, because tables are as wide as paths."""
    for name in ("file", "held"):
        shutil.copytree(pictures, tmp_path / name)
        made = CliRunner().invoke(main, ["init", str(tmp_path / name / "lab.duckdb")])
        assert made.exit_code == 0
    return tmp_path / "file", tmp_path / "held"


def test_all_commands_with_and_without_a_service(
    folders: tuple[Path, Path], by: str, as_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_file, held = folders
    monkeypatch.setenv("AMATL_CACHE", str(by_file / "cache"))
    new_token(by_file / "lab.duckdb")
    expected = by_path(by_file).told(as_json)
    monkeypatch.setenv("AMATL_CACHE", str(held / "cache"))
    monkeypatch.setenv("CURATOR_TOKEN", new_token(held / "lab.duckdb"))
    serving = Serving(held / "lab.duckdb", "--require-token")
    try:
        way = by_path(held) if by == "socket" else by_url(held, serving.facts["url"])
        found = way.told(as_json)
    finally:
        assert serving.stop() == 0
    if by == "url":
        refused = [told for told in found if told[0] in NOT_BY_URL]
        assert all(code == 1 and "own machine" in said for _, code, _, said in refused)
        expected, found = ([told for told in both if told[0] not in NOT_BY_URL] for both in (expected, found))
    assert "\n".join(difference(expected, found)) == ""


def difference(expected: Sequence[tuple[object, ...]], found: Sequence[tuple[object, ...]]) -> Iterator[str]:
    for one, other in zip(expected, found, strict=True):
        if one != other:
            lines = ("\n".join(map(str, told)).splitlines() for told in (one, other))
            yield from difflib.unified_diff(*lines, str(one[0]), lineterm="", n=1)


def by_path(folder: Path) -> Way:
    catalog = str(folder / "lab.duckdb")
    return Way(folder, ("--catalog", catalog), {catalog: "CATALOG"})


def by_url(folder: Path, url: str) -> Way:
    here = machine()
    return Way(folder, ("--server", url), {url: "CATALOG", f" (on {here}, with --server URL)": "", f"{here}:": ""})


def new_token(catalog: Path) -> str:
    made = CliRunner().invoke(main, ["token", "add", "cyd", "--scope", "write", "--json", "--catalog", str(catalog)])
    assert made.exit_code == 0, made.output
    return str(json.loads(made.stdout)["token"])


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
