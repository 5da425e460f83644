"""Blind comparisons against the real server: asked once whatever happens, blind, read back right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from curator.catalog import Catalog
from curator.cli import main
from tests.curator.annotate.live.browser import CHROMIUM, QUIET, Annotator
from tests.curator.annotate.live.pictures import Pictures
from tests.curator.annotate.live.server import Server

if TYPE_CHECKING:
    from playwright.sync_api import Page

COLOURS = ("firebrick", "seagreen", "royalblue", "goldenrod", "purple", "teal", "chocolate", "gray")


class Lab:
    """A catalog of eight squares with two versions, `plain@1` and `rich@1`; the first square has one text in both."""

    def __init__(self, folder: Path, server: Server, pictures: Pictures) -> None:
        self.catalog = folder / "lab.duckdb"
        self.server, self.pictures = server, pictures
        (folder / "squares").mkdir()
        rows = ["file_name,plain,rich"]
        for number, colour in enumerate(COLOURS):
            Image.new("RGB", (640, 480), colour).save(folder / "squares" / f"{number}.png")
            rows.append(f"{number}.png,a square,a {colour} square" if number else f"{number}.png,square,square")
        (folder / "about.csv").write_text("\n".join(rows))
        self.run("init", str(self.catalog))
        self.run(
            "ingest", str(folder / "squares"), "--dataset", "squares", "--metadata", str(folder / "about.csv"), *self.at
        )
        for name in ("plain", "rich"):
            self.run("caption", "squares", "--strategy", "column", "--set", name, "-o", f"column={name}", *self.at)
            self.run("commit", f"squares/{name}", "-m", "first", *self.at)

    @property
    def at(self) -> tuple[str, str]:
        return ("--catalog", str(self.catalog))

    def run(self, *arguments: str, ok: bool = True) -> Result:
        result = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
        assert (result.exit_code == 0) == ok, result.output
        return result

    def prefer(self, *more: str) -> dict[str, Any]:
        where = ("--url", self.server.url, "--images-url", self.pictures.url)
        result = self.run("annotate", "prefer", "squares", "--sets", "plain@1,rich", *where, *self.at, "--json", *more)
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def tasks(self, project: int) -> list[dict[str, Any]]:
        answer = self.server.api("GET", f"/api/tasks?project={project}&fields=all&page_size=100")
        tasks: list[dict[str, Any]] = answer["tasks"]
        return sorted(tasks, key=lambda task: task["id"])

    def answer(self, task: int, choice: str, token: str | None = None, **fields: Any) -> int:
        result = [{"from_name": "preferred", "to_name": "image", "type": "choices", "value": {"choices": [choice]}}]
        body = {"result": result, "lead_time": 2.0} | fields
        return int(self.server.api("POST", f"/api/tasks/{task}/annotations/", body, token)["id"])


@pytest.fixture
def lab(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", server.token)
    pictures = Pictures(tmp_path)
    yield Lab(tmp_path, server, pictures)
    pictures.stop()


def place_of(task: dict[str, Any], text: str) -> str:
    """The number under which a task shows a text."""
    return next(key.removeprefix("text_") for key, value in task["data"].items() if value == text)


def is_rich(text: str) -> bool:
    return text != "a square"


def test_asked_blind_answered_and_counted(lab: Lab, server: Server) -> None:
    first = lab.prefer()
    assert (first["images"], first["sent"], first["same_text"], first["answered"]) == (7, 7, 1, 0)
    tasks = lab.tasks(first["project"])
    assert len(tasks) == 7
    shown = json.dumps([task["data"] for task in tasks]) + json.dumps(
        server.api("GET", f"/api/projects/{first['project']}")
    )
    assert "plain@" not in shown and "rich@" not in shown and str(lab.catalog.parent) not in shown

    ben = server.add_annotator(f"ben-{first['project']}@example.org")
    for task in tasks[:5]:  # the owner likes colours, but once
        rich = next(text for key, text in task["data"].items() if key.startswith("text_") and is_rich(text))
        lab.answer(task["id"], place_of(task, rich if task != tasks[4] else "a square"))
    lab.answer(tasks[0]["id"], place_of(tasks[0], "a square"), ben.token)
    lab.answer(tasks[1]["id"], "same", ben.token)
    lab.answer(tasks[5]["id"], "1", was_cancelled=True)

    then = lab.prefer()
    assert (then["sent"], then["answered"], then["answers"], then["skipped"]) == (0, 5, 7, 1)
    (pair,) = then["pairs"]
    assert (pair["a"], pair["b"]) == ("squares/plain@1", "squares/rich@1")
    assert (pair["a_won"], pair["b_won"], pair["same"], pair["images"]) == (2, 4, 1, 5)
    assert pair["a_rate"] == pytest.approx((0.5 + 0.25 + 0 + 0 + 1) / 5) and pair["better"] is None
    owner, second = then["people"]
    assert (owner["person"], owner["chosen"]) == (server.owner.email, {"squares/plain@1": 1, "squares/rich@1": 4})
    assert (second["person"], second["same"]) == (ben.email, 1)
    assert then["agreement"] == {"images": 2, "pairs": 2, "alike": 0.0}


def test_an_answer_changed_or_deleted_counts_as_it_stands(lab: Lab, server: Server) -> None:
    project = lab.prefer()["project"]
    task, other = lab.tasks(project)[:2]
    changed, deleted = lab.answer(task["id"], place_of(task, "a square")), lab.answer(other["id"], "same")
    assert lab.prefer()["pairs"][0]["a_won"] == 1
    rich = next(text for key, text in task["data"].items() if key.startswith("text_") and is_rich(text))
    result = [
        {"from_name": "preferred", "to_name": "image", "type": "choices", "value": {"choices": [place_of(task, rich)]}}
    ]
    server.api("PATCH", f"/api/annotations/{changed}/", {"result": result})
    server.api("DELETE", f"/api/annotations/{deleted}/")
    (pair,) = lab.prefer()["pairs"]
    assert (pair["a_won"], pair["b_won"], pair["same"]) == (0, 1, 0)
    with Catalog(lab.catalog) as catalog:
        key = catalog.preference_projects()["project_key"][0]
        assert sorted(catalog.preference_answers(key)["outcome"]) == ["chosen", "deleted"]


def test_nothing_is_asked_twice_whatever_the_catalog_missed(lab: Lab) -> None:
    """An import that arrived and wasn't noted (killed in between) is found again by its images."""
    first = lab.prefer("--limit", "3")
    assert first["images"] == 3
    with Catalog(lab.catalog) as catalog:
        catalog._connection.execute("DELETE FROM preference_tasks")
        catalog._connection.execute("DELETE FROM preference_projects WHERE label_studio_id IS NOT NULL")
    again = lab.prefer("--limit", "5")
    assert (again["project"], again["images"], again["sent"]) == (first["project"], 5, 2)
    images = [task["data"]["image_sha256"] for task in lab.tasks(first["project"])]
    assert len(images) == len(set(images)) == 5


def test_somebody_removed_keeps_their_answers_and_name(lab: Lab, server: Server) -> None:
    project = lab.prefer()["project"]
    eve = server.add_annotator(f"eve-{project}@example.org")
    lab.answer(lab.tasks(project)[0]["id"], "1", eve.token)
    assert [one["person"] for one in lab.prefer()["people"]] == [eve.email]
    server.api("DELETE", f"/api/organizations/1/memberships/{eve.id}/")
    assert [one["person"] for one in lab.prefer()["people"]] == [eve.email]


def test_a_task_deleted_there_is_asked_anew_and_said_once(lab: Lab, server: Server) -> None:
    project = lab.prefer()["project"]
    server.api("DELETE", f"/api/tasks/{lab.tasks(project)[0]['id']}/")
    again = lab.prefer()
    assert (again["sent"], again["images"]) == (1, 7)
    assert "deleted in Label Studio: 1" in again["notes"][0]
    assert lab.prefer()["notes"] == []


def test_a_deleted_project_is_begun_anew_and_said(lab: Lab, server: Server) -> None:
    first = lab.prefer()
    server.api("DELETE", f"/api/projects/{first['project']}")
    then = lab.prefer()
    assert then["project"] != first["project"] and then["sent"] == 7
    assert "is gone from Label Studio" in then["notes"][0]


def test_the_table(lab: Lab, server: Server) -> None:
    project = lab.prefer()["project"]
    for task in lab.tasks(project):
        rich = next(text for key, text in task["data"].items() if key.startswith("text_") and is_rich(text))
        lab.answer(task["id"], place_of(task, rich))
    where = ("--url", server.url, "--images-url", lab.pictures.url)
    told = lab.run("annotate", "prefer", "squares", "--sets", "plain,rich", *where, *lab.at).stdout
    assert "7 images asked (0 new), 7 of them answered" in told.replace("  ", " ").replace("  ", " ")
    assert "rich@1 is preferred to plain@1." in told and "0-7-0" in told


@pytest.mark.parametrize(
    ("sets", "said"),
    [("plain", "name 2 to 6"), ("plain,plain@1", "name 2 to 6"), ("plain,poem", "There is no caption set")],
)
def test_what_cannot_be_compared_is_said(lab: Lab, server: Server, sets: str, said: str) -> None:
    where = ("--url", server.url, "--images-url", lab.pictures.url)
    result = CliRunner().invoke(main, ["annotate", "prefer", "squares", "--sets", sets, *where, *lab.at])
    assert result.exit_code in (1, 2) and said in result.output and "Traceback" not in result.output


@pytest.mark.browser
def test_by_keyboard_in_the_browser(lab: Lab, server: Server) -> None:
    from playwright.sync_api import sync_playwright

    project = lab.prefer()["project"]
    tasks = lab.tasks(project)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=QUIET)
        annotator = Annotator(chromium, server, server.owner.email, server.owner.password, (1366, 768))
        page = annotator.page
        page.goto(f"{server.url}/projects/{project}/data?labeling=1")
        page.get_by_text("Labeling Instructions").wait_for()
        page.keyboard.press("Escape")
        page.get_by_text("Labeling Instructions").wait_for(state="hidden")
        page.wait_for_function("() => [...document.querySelectorAll('.lsf-image img')].some(i => i.naturalWidth > 1)")
        page.wait_for_timeout(1500)
        annotator.screenshot("prefer")
        answer_by_key(page, "1", tasks[0])
        answer_by_key(page, "0", tasks[1])
        chromium.close()
        assert annotator.outside == []
    found = lab.prefer()
    (pair,) = found["pairs"]
    assert found["answered"] == 2 and pair["same"] == 1
    winner = "b_won" if is_rich(tasks[0]["data"]["text_1"]) else "a_won"
    assert pair[winner] == 1 and found["first_place"] == 1


def answer_by_key(page: Page, key: str, task: dict[str, Any]) -> None:
    """Waits for the task, chooses, submits, waits until it is taken."""
    page.wait_for_function(
        "id => document.querySelector('.lsf-current-task__task-id')?.textContent.includes(id)", arg=str(task["id"])
    )
    page.wait_for_timeout(1500)
    for _ in range(50):  # While a task loads, Label Studio makes the choices anew: a key may have chosen among the old.
        if page.locator(".amatl input:checked").count() == 0:
            page.keyboard.press(key)
        page.wait_for_timeout(200)
        if page.locator(".amatl input:checked").count() == 1:
            break
    with page.expect_response(lambda answer: f"/api/tasks/{task['id']}/annotations" in answer.url):
        page.keyboard.press("Control+Enter")
