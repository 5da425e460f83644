"""`curator caption --dry-run`: a few pictures captioned, nothing kept, a page of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from curator.caption import caption
from curator.caption.dry_run import dry_run
from curator.caption.dry_run_result import DryRunResult
from curator.captioners.model import MachineFailed, Output
from curator.cli import main
from curator.cli.text.captions import text_of_dry_run
from curator.ingest import ingest
from schemas.errors import AlreadyExists, BadOption
from tests.curator.captioners.model.fake import Robot, install
from tests.curator.lab import Lab

IMAGES = 20


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    for number in range(IMAGES):
        lab.add(f"{number:04}.png", number, {"name": f"animal <{number}>"})
    lab.write()
    monkeypatch.chdir(tmp_path)
    yield lab
    lab.close()


@pytest.fixture
def robot(monkeypatch: pytest.MonkeyPatch) -> Robot:
    made = Robot(batch_size=None, write_s=0.01)
    install(monkeypatch, made)
    return made


def run(lab: Lab, strategy: str = "robot", **more: Any) -> DryRunResult:
    return dry_run(lab.catalog, "zoo", strategy, "seen", **more)


def page(result: DryRunResult) -> str:
    """The page; every element in it closed in its turn."""

    class Strict(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in {"meta", "img"}:
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    text = Path(result.page).read_text(encoding="utf-8")
    parser = Strict()
    parser.feed(text)
    assert parser.open == []
    return text


def test_it_captions_8_spread_over_the_set_and_keeps_nothing(lab: Lab, robot: Robot) -> None:
    result = run(lab)
    names = [f"{place * IMAGES // 8:04}.png" for place in range(8)]
    assert [picture.file_name for picture in result.pictures] == names
    assert [picture.text for picture in result.pictures] == [f"a {name}" for name in names]
    assert lab.catalog.caption_sets().is_empty()
    assert (robot.loaded, robot.closed, len(robot.prepared)) == (1, 1, 8)
    assert result.page == "zoo-seen-dry-run.html"
    text = page(result)
    assert text.count("data:image/webp;base64,") == 8
    assert not re.search(r'(?:src|href)="(?!data:)', text)


def test_it_estimates_time_and_cost_for_all_of_them(lab: Lab, robot: Robot) -> None:
    robot.answers = {f"{number:04}.png": [Output("a fox", None, 100, 10, 0.25)] for number in range(IMAGES)}
    result = run(lab)
    assert (result.to_caption, result.cost_usd_each, result.estimated_cost_usd) == (IMAGES, 0.25, 5.0)
    assert result.seconds_each >= 0.01
    assert result.estimated_seconds == pytest.approx(result.seconds_each * IMAGES)
    assert "captions 20 images into zoo/seen: about " in page(result)


def test_it_shows_what_the_run_would_do_where_some_is_done(lab: Lab, robot: Robot) -> None:
    caption(lab.catalog, "zoo", "robot", "seen", limit=IMAGES - 3)
    result = run(lab)
    assert [picture.file_name for picture in result.pictures] == ["0017.png", "0018.png", "0019.png"]
    caption(lab.catalog, "zoo", "robot", "seen")
    result = run(lab)
    assert (len(result.pictures), result.to_caption, result.estimated_seconds) == (8, 0, 0)
    text = page(result)
    assert "zoo/seen is up to date" in text
    assert text.count("same as now") == 8


def test_captions_failures_and_differences_are_on_the_page(lab: Lab, robot: Robot) -> None:
    caption(lab.catalog, "zoo", "template", "seen", {"template": "a drawing of ${name}"})
    said: list[str] = []
    robot.answers = {
        "0000.png": ["a nice drawing of animal <0>"],
        "0002.png": [Output(None, "refused <politely>")],
        "0005.png": ["quite another thing"],
        "0007.png": ["a drawing of animal <7>"],
    }
    result = run(lab, notice=said.append)
    assert said == ["20 images were captioned with another strategy (template): captioned again now."]
    text = page(result)
    assert "a <mark>nice</mark> drawing of animal &lt;0&gt;" in text
    assert "no caption: refused &lt;politely&gt;" in text
    assert "<p" in text and ">quite another thing</p>" in text  # too different to mark
    assert text.count("same as now") == 1
    assert result.pictures[1].current == "a drawing of animal <2>"


def test_a_picture_that_is_gone_is_shown_as_such(lab: Lab, robot: Robot) -> None:
    (lab.folder / "images" / "0000.png").unlink()
    assert page(run(lab)).count("can’t be read") == 1


def test_a_table_strategy_has_dry_runs_too(lab: Lab) -> None:
    result = run(lab, "template", options={"template": "a ${name}"})
    assert result.pictures[0].text == "a animal <0>"
    assert "less than a second" in page(result)


def test_only_a_sheet_of_ours_is_written_over(lab: Lab, robot: Robot, tmp_path: Path) -> None:
    out = tmp_path / "sheet.html"
    run(lab, out=out)
    run(lab, out=out)
    out.write_text("<html>my own</html>")
    with pytest.raises(AlreadyExists, match=r"sheet\.html: is there and no page"):
        run(lab, out=out)
    assert (out.read_text(), robot.loaded) == ("<html>my own</html>", 2)
    for place, message in ((tmp_path, "is a folder"), (out / "sheet.html", "is a file")):
        with pytest.raises(BadOption, match=message):
            run(lab, out=place)
    assert Path(run(lab, out=tmp_path / "new" / "sheet.html").page).is_file()


def test_a_machine_that_fails_leaves_no_page(lab: Lab, robot: Robot) -> None:
    robot.answers["0002.png"] = [RuntimeError("dead")]
    with pytest.raises(MachineFailed, match="robot: RuntimeError: dead"):
        run(lab)
    assert not list(Path().glob("*.html"))


def test_the_command(lab: Lab, robot: Robot) -> None:
    lab.close()
    command = ["caption", "zoo", "--strategy", "robot", "--set", "seen", "--catalog", str(lab.folder / "lab.duckdb")]
    shown = CliRunner().invoke(main, [*command, "--dry-run", "--out", "a.html"], catch_exceptions=False)
    assert shown.exit_code == 0
    assert "zoo/seen: dry run of robot, nothing is stored" in shown.stdout
    assert "  0000.png  a 0000.png" in shown.stdout
    assert "All 20 images: about " in shown.stdout
    assert "Contact sheet: a.html" in shown.stdout
    as_json = CliRunner().invoke(main, [*command, "--dry-run", "--json"], catch_exceptions=False)
    assert len(json.loads(as_json.stdout)["pictures"]) == 8
    refused = CliRunner().invoke(main, [*command, "--out", "a.html"])
    assert (refused.exit_code, "--out needs --dry-run" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    ("dataset", "where", "why"),
    [
        ("zoo", "name = 'nobody'", "--where selects no image"),
        ("zoo", None, "zoo/seen is up to date"),
        ("bare", None, "bare has no images"),
    ],
)
def test_it_says_why_there_is_nothing_to_caption(
    lab: Lab, robot: Robot, dataset: str, where: str | None, why: str
) -> None:
    caption(lab.catalog, "zoo", "robot", "seen")
    (lab.folder / "bare").mkdir()
    ingest(lab.catalog, lab.folder / "bare", "bare", person="ana")
    result = dry_run(lab.catalog, dataset, "robot", "seen", where=where)
    assert f"Nothing to caption: {why}." in text_of_dry_run(result)
    assert f"A run would caption nothing: {why}." in page(result)
