"""The labeling page in a real browser: the keyboard path that the instructions name saves every edit.

And the paths beside it: what they do is asserted too, since the instructions promise or warn of each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from curator.annotate.label_studio.labeling_page import Answer, instructions, labeling_config, read_annotation
from tests.curator.annotate.live.browser import CHROMIUM, PATIENCE_MS, QUIET, Annotator
from tests.curator.annotate.live.conftest import MakeProject
from tests.curator.annotate.live.pictures import Pictures
from tests.curator.annotate.live.server import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser
MakeAnnotator = Callable[..., Annotator]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[Pictures]:
    made = Pictures(tmp_path)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def ann(browser: Browser, server: Server) -> Iterator[Annotator]:
    """Ann, who signed up and logged in."""
    account = server.add_annotator("ann-at-the-page@example.org")
    annotator = Annotator(browser, server, account.email, account.password, (1440, 900))
    yield annotator
    annotator.page.close()


def fill(server: Server, project: int, tasks: list[dict[str, Any]]) -> list[int]:
    answer = server.api("POST", f"/api/projects/{project}/import?return_task_ids=true", tasks)
    server.api("PATCH", f"/api/projects/{project}", {"model_version": "shapes/template@1", "show_instruction": True})
    return list(answer["task_ids"])


def answers(server: Server, task: int) -> list[Answer]:
    return [read_annotation(annotation) for annotation in server.api("GET", f"/api/tasks/{task}")["annotations"]]


def raw(server: Server, task: int) -> dict[str, Any]:
    """The one annotation of a task, as Label Studio has it."""
    [found] = server.api("GET", f"/api/tasks/{task}")["annotations"]
    return dict(found)


def answer(server: Server, task: int, until: Callable[[Answer], bool] = bool) -> Answer:
    """The one annotation of a task, waited for."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < deadline:
        found = answers(server, task)
        if len(found) == 1 and until(found[0]):
            return found[0]
        time.sleep(0.2)
    raise AssertionError(f"task {task}: {answers(server, task)}")


def test_the_keyboard_path_saves_every_edit(
    server: Server, make_project: MakeProject, pictures: Pictures, ann: Annotator
) -> None:
    project = make_project(title="shapes: human")
    captions = [f"a shape, number {number}" for number in range(6)]
    tasks = fill(server, project, [pictures.task(number, text) for number, text in enumerate(captions)])
    ann.open(project)
    ann.wait_for_caption(captions[0])
    ann.page.wait_for_function("() => [...document.querySelectorAll('.lsf-image img')].some(i => i.naturalWidth > 1)")
    ann.screenshot("page")

    ann.press("Tab", "1", "Control+Enter")  # good as it was
    ann.wait_for_caption(captions[1])
    ann.write(", in green")
    ann.press("Tab", "2", "Control+Enter")  # edited
    ann.wait_for_caption(captions[2])
    ann.press("Tab", "3")
    ann.screenshot("reject")
    ann.press("Control+Enter")  # rejected
    ann.wait_for_caption(captions[3])
    ann.write(", unsure")
    ann.press("Tab", "Control+Space")  # skipped
    ann.wait_for_caption(captions[4])
    ann.press("Control+a", "Delete", "Tab", "2", "Control+Enter")  # emptied
    ann.wait_for_caption(captions[5])

    good, edited, rejected, skipped, emptied = (answer(server, task) for task in tasks[:5])
    assert (good.text, good.verdict, good.origin) == (captions[0], "good", "accepted")
    assert (edited.text, edited.verdict, edited.origin) == (f"{captions[1]}, in green", "fixed", "edited")
    assert (rejected.verdict, rejected.origin, rejected.skipped) == ("reject", "accepted", False)
    assert skipped.skipped and skipped.text == f"{captions[3]}, unsure"
    assert (emptied.text, emptied.skipped) == ("", False)
    (person,) = {each.person for each in (good, edited, rejected, skipped, emptied)}
    assert server.api("GET", f"/api/users/{person}/")["email"] == "ann-at-the-page@example.org"
    assert all(each.lead_time_seconds for each in (good, edited, rejected))
    assert all(raw(server, task)["parent_prediction"] for task in tasks[:3])
    assert answers(server, tasks[5]) == []
    assert ann.outside == []


def test_what_was_submitted_can_be_changed(
    server: Server, make_project: MakeProject, pictures: Pictures, ann: Annotator
) -> None:
    project = make_project()
    first, _second = fill(server, project, [pictures.task(0, "a shape"), pictures.task(1, "another")])
    ann.open(project)
    ann.wait_for_caption("a shape")
    ann.press("Tab", "1", "Control+Enter")
    ann.wait_for_caption("another")
    answer(server, first)
    before = raw(server, first)
    ann.page.get_by_label("Previous task").click()
    ann.wait_for_caption("a shape")
    ann.write(", corrected")
    ann.press("Tab", "2", "Control+Enter")
    after = answer(server, first, lambda found: found.verdict == "fixed")
    assert (after.text, after.origin) == ("a shape, corrected", "edited")
    now = raw(server, first)
    assert now["id"] == before["id"] and now["updated_at"] != before["updated_at"]


def test_the_mouse_saves_too(server: Server, make_project: MakeProject, pictures: Pictures, ann: Annotator) -> None:
    project = make_project()
    tasks = fill(server, project, [pictures.task(number, f"shape {number}") for number in range(3)])
    ann.open(project)
    ann.wait_for_caption("shape 0")
    ann.write(", by mouse")
    ann.page.locator(".amatl-verdict").get_by_text("Fixed").click()
    ann.page.get_by_label("Submit current annotation").click()
    ann.wait_for_caption("shape 1")
    ann.press("Tab", "2")
    ann.box.click()
    ann.write(", last word")  # straight from the box to the button
    ann.page.get_by_label("Submit current annotation").click()
    ann.wait_for_caption("shape 2")
    assert [answer(server, task).text for task in tasks[:2]] == ["shape 0, by mouse", "shape 1, last word"]


def test_the_other_keys_do_what_the_instructions_say(
    server: Server, make_project: MakeProject, pictures: Pictures, ann: Annotator
) -> None:
    """Keys in the box write; Escape takes the change back where one can see it; nothing is submitted unseen."""
    project = make_project()
    (task, _) = fill(server, project, [pictures.task(0, "a shape"), pictures.task(1, "another")])
    ann.open(project)
    ann.wait_for_caption("a shape")
    ann.write("1")
    assert ann.box.input_value() == "a shape1"
    ann.press("Escape")
    assert ann.box.input_value() == "a shape"
    ann.write(", kept")
    ann.press("Control+Enter", "Control+Space")  # in the box: neither submits nor skips
    ann.page.wait_for_timeout(1000)
    assert answers(server, task) == []
    ann.press("Tab", "Backspace", "Delete", "Control+Backspace", "Escape")  # outside it: nothing is deleted
    assert ann.box.input_value().rstrip() == "a shape, kept"
    ann.press("Control+Enter")  # without a verdict
    ann.page.get_by_text("Give a verdict first").wait_for()
    assert answers(server, task) == []
    ann.press("Escape")
    ann.page.get_by_text("Give a verdict first").wait_for(state="hidden")
    ann.press("2", "Control+Enter")
    ann.wait_for_caption("another")
    kept = answer(server, task)
    assert kept.text is not None and kept.text.startswith("a shape, kept") and kept.verdict == "fixed"


@pytest.mark.parametrize("why", ["expired", "down"])
def test_a_picture_that_cannot_be_reached_is_said(
    server: Server, make_project: MakeProject, pictures: Pictures, ann: Annotator, why: str
) -> None:
    project = make_project()
    fill(server, project, [pictures.task(0, "a shape", days=-1 if why == "expired" else 90)])
    if why == "down":
        pictures.stop()
    ann.open(project)
    notice = ann.page.get_by_test_id("error:http")
    notice.wait_for()
    said = notice.evaluate("element => getComputedStyle(element, '::before').content")
    assert "This picture can't be reached" in said and "curator annotate status" in said
    assert not ann.picture_is_shown()
    ann.screenshot(f"no-picture-{why}")


def test_no_script_in_captions_or_metadata_runs(
    server: Server, make_project: MakeProject, pictures: Pictures, ann: Annotator
) -> None:
    """Both come from files and models that nobody has read."""
    evil = "<b>bold</b> <img src=x onerror='window.ran=1'><script>window.ran=1</script>"
    project, task = make_project(), pictures.task(0, f"a shape {evil}")
    task["data"]["metadata"][evil] = task["data"]["captions"]["blip@1"] = evil
    fill(server, project, [task])
    ann.open(project)
    ann.page.get_by_text(evil).nth(1).wait_for()  # in both tables, as it was written
    ann.page.wait_for_function("() => [...document.querySelectorAll('.lsf-image img')].some(i => i.naturalWidth > 1)")
    assert ann.box.input_value() == f"a shape {evil}"
    assert ann.page.evaluate("window.ran") is None


def test_it_fits_a_small_laptop(
    server: Server, make_project: MakeProject, pictures: Pictures, browser: Browser
) -> None:
    """At 1280 x 720 the picture, the whole caption, the verdicts and the button are in sight without scrolling."""
    project = make_project()
    long = "a photograph of a very long thing that needs many words before it is told as it should be told. " * 3
    fill(server, project, [pictures.task(0, long.strip(), size=(700, 1900))])
    annotator = Annotator(browser, server, server.owner.email, server.owner.password, (1280, 720))
    annotator.open(project)
    annotator.page.wait_for_function(
        "() => [...document.querySelectorAll('.lsf-image img')].some(i => i.naturalWidth > 1)"
    )
    annotator.screenshot("small")
    for what in [
        ".lsf-image",
        "textarea[name^=final_caption]",
        ".amatl-verdict",
        "button[aria-label^='Submit current']",
    ]:
        place = annotator.page.locator(what).first.bounding_box()
        assert place and place["x"] >= 0 and place["x"] + place["width"] <= 1280, what
        assert place["y"] >= 0 and place["y"] + place["height"] <= 720, what
    box = "[...document.querySelectorAll('textarea[name^=final_caption]')][0]"
    assert annotator.page.evaluate(f"{box}.scrollHeight <= {box}.clientHeight + 2")
    annotator.page.close()


def test_the_page_and_its_instructions_arrive_whole(server: Server, make_project: MakeProject) -> None:
    """Label Studio cleans what it is given; the keys that save must survive that."""
    project = server.api("GET", f"/api/projects/{make_project()}")
    assert project["label_config"] == labeling_config().strip() or project["label_config"] == labeling_config()
    for key in ["Tab", "Ctrl+Enter", "Ctrl+Space", "Escape"]:
        assert key in project["expert_instruction"] and key in instructions()
