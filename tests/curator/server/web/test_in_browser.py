"""Each page's main task in a real browser, by keyboard where a person would; no page breaks its content policy, and axe
finds nothing against WCAG 2.2 AA, light, dark and on a phone. Screenshots are kept in artefacts/pages/.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from curator.cli import main
from curator.datasets.image import image_caption
from curator.runs import receive_picture, receive_report
from curator.server import Settings, create_app
from curator.snapshot import Holdout, snapshot
from tests.curator.lab import Lab, picture
from tests.schemas.test_spec import example

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
ARTEFACTS = Path(__file__).parents[4] / "artefacts" / "pages"
WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
IMAGES = 300
PATIENCE_MS = 60_000
# What is said stays: a machine that is busy elsewhere may look for it late.
LASTING = "const short = setTimeout; window.setTimeout = (done, ms) => short(done, ms >= 6000 ? 600_000 : ms);"


class Service:
    """A service over a catalog of its own, on a port of its own."""

    def __init__(self, lab: Lab) -> None:
        import uvicorn

        self.lab = lab
        app = create_app(lab.write(), Settings(lab.catalog.path), main)
        self.server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="on"))
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        self.address = f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.lab.catalog.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    lab = Lab(tmp_path_factory.mktemp("pages"))
    images = [
        lab.add(f"{number:03}.png", number, {"title": f"animal {number}"}, size=(40, 30)) for number in range(IMAGES)
    ]
    lab.add("again.png", 999, near=images[0])
    lab.commit("template", {image: f"a drawing of animal {number}" for number, image in enumerate(images)}, "template")
    lab.commit(
        "human", {image: f"an animal in the snow, {number}" for number, image in enumerate(images[:50])}, "human"
    )
    made = snapshot(lab.write(), ["human@1", "template@1"], lab.folder / "snapshot", holdout=Holdout(count=5))
    running = Service(lab)
    for name in ("human", "template"):
        report_run(running, made.identity, name)
    yield running
    running.stop()


def report_run(service: Service, identity: str, name: str) -> None:
    """A run with a grid before training and one after an epoch, two prompts by one seed."""
    document = example("run")
    document["name"] = document["captions"] = name
    document["snapshot"]["identity"] = identity
    document["references"] = None
    document["checkpoints"] = document["checkpoints"][:2]
    contents = []
    for place, checkpoint in enumerate(document["checkpoints"]):
        contents.append(picture(100 + place, size=(64, 128)))
        file = {"path": f"grids/{place}.png", "sha256": sha256(contents[-1]).hexdigest()}
        file["size_bytes"] = len(contents[-1])
        checkpoint["epoch"], checkpoint["grid"] = place, {"file": file, "rows": 2, "columns": 1, "tile_px": 64}
    pictures = service.lab.catalog.path.with_name("lab.duckdb.service") / "runs"
    receipt = receive_report(service.lab.catalog, json.dumps(document).encode(), "ana", pictures)
    for content in contents:
        receive_picture(service.lab.catalog, receipt.digest, sha256(content).hexdigest(), content, pictures)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert found, "the browser tests need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    """A page that may not complain: neither of a script's error nor of what its policy forbids.

    That a change was refused (412) Chromium notes as an error of its own; the test that provokes it looks for the text.
    """
    context = browser.new_context(base_url=service.address, viewport=WIDE)  # type: ignore[arg-type]
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE_MS)
    opened.add_init_script(LASTING)
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    yield opened
    context.close()
    assert [one for one in complaints if "412" not in one] == []


def image_page(service: Service, number: int) -> tuple[str, str]:
    image = service.lab.run(f"SELECT image_sha256 FROM files WHERE file_name = '{number:03}.png'")[0][0]
    return image, f"/datasets/zoo/images/{image}"


def caption(service: Service, image: str, set_name: str) -> Any:
    return image_caption(service.lab.catalog, "zoo", image, set_name)


def said(page: Page, text: str) -> None:
    page.wait_for_function("text => document.getElementById('said').textContent.startsWith(text)", arg=text)


def at_rest(page: Page) -> None:
    """Once it has scrolled, and scrolls no more."""
    page.wait_for_function(
        """async () => {
            const at = scrollY;
            for (let frames = 0; frames < 10; frames += 1) await new Promise(requestAnimationFrame);
            return at > 0 && scrollY === at;
        }"""
    )


def test_the_gallery_goes_on_as_it_is_scrolled_and_moves_by_arrows(page: Page) -> None:
    page.goto("/datasets/zoo")
    for count in (120, 240, 301):
        page.wait_for_function("count => document.querySelectorAll('.tile').length >= count", arg=count)
        page.mouse.wheel(0, 20_000)
    assert (page.locator(".tile").count(), page.locator(".more").count()) == (301, 0)
    at_rest(page)
    page.evaluate("scrollTo(0, 0)")
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowUp"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.title") == "001.png"
    page.keyboard.press("Enter")
    page.wait_for_url("**/images/*")


def test_search_by_keyboard_alone(page: Page) -> None:
    page.goto("/datasets/zoo")
    page.keyboard.press("/")
    page.keyboard.type("animal 29")
    page.keyboard.press("Enter")
    page.wait_for_url("**text=animal+29**")
    assert page.locator(".count").inner_text().startswith("11 images found")
    assert page.locator(".tile").count() == 11


def test_next_accept_edit_and_undo_by_keyboard(page: Page, service: Service) -> None:
    first, address = image_page(service, 1)
    second, _ = image_page(service, 2)
    page.goto(f"{address}?show=human")
    page.keyboard.press("2")  # the set `template`
    said(page, "Keys work on template")
    page.keyboard.press("a")
    page.wait_for_url(f"**/{second}**")
    said(page, "Accepted in template")
    assert caption(service, first, "template").by_person
    page.keyboard.press("e")
    page.keyboard.press("Control+a")
    page.keyboard.type("a wolf")
    page.keyboard.press("Enter")
    said(page, "Saved in template")
    assert caption(service, second, "template").text == "a wolf"
    assert "show=human" in page.url
    page.keyboard.press("u")
    said(page, "Undone")
    assert caption(service, second, "template").text == "a drawing of animal 2"
    page.keyboard.press("u")
    page.wait_for_url(f"**/{first}**")
    said(page, "Undone")
    assert not caption(service, first, "template").by_person
    page.keyboard.press("j")
    page.wait_for_url(f"**/{second}**")
    page.keyboard.press("k")
    page.wait_for_url(f"**/{first}**")


@pytest.mark.parametrize("asked", ["caption_set=template", "show=template"])
def test_keys_work_on_the_set_whose_captions_the_gallery_showed(page: Page, service: Service, asked: str) -> None:
    _, address = image_page(service, 20)
    page.goto(address)
    page.keyboard.press("1")
    assert page.locator("form.caption.chosen").get_attribute("data-set") == "human"
    page.goto(f"{address}?{asked}")
    assert page.locator("form.caption.chosen").get_attribute("data-set") == "template"
    page.keyboard.press("1")
    page.keyboard.press("j")
    page.wait_for_url(f"**/{image_page(service, 21)[0]}**")
    page.reload()
    assert page.locator("form.caption.chosen").get_attribute("data-set") == "human"


def test_keys_faster_than_pages_are_done_in_their_order(page: Page, service: Service) -> None:
    """No letter typed into a caption becomes a command, none is lost, and nobody waits for a page."""
    page.goto(image_page(service, 40)[1])
    page.keyboard.press("1")
    page.keyboard.type("jjjjjjk")
    page.wait_for_url(f"**/{image_page(service, 45)[0]}**")
    page.keyboard.type("ae a hare, jumping")
    page.keyboard.press("Enter")
    said(page, "Saved in human")
    assert caption(service, image_page(service, 46)[0], "human").text == "an animal in the snow, 46 a hare, jumping"
    accepted = caption(service, image_page(service, 45)[0], "human")
    assert (accepted.by_person, accepted.text) == (True, "an animal in the snow, 45")


def test_a_key_just_after_a_page_came_waits_for_those_before_it(page: Page, service: Service) -> None:
    """Timers are slow here, so that the keys held while the page came are still to be done when the next ones come."""
    page.add_init_script("const real = setTimeout; window.setTimeout = (done, ms) => real(done, ms ?? 500);")
    page.goto(image_page(service, 47)[1])
    page.keyboard.press("1")
    page.keyboard.type("ae")
    page.wait_for_url(f"**/{image_page(service, 48)[0]}**")
    page.keyboard.type(", a hare")
    page.keyboard.press("Enter")
    said(page, "Saved in human")
    assert caption(service, image_page(service, 48)[0], "human").text == "an animal in the snow, 48, a hare"
    assert not caption(service, image_page(service, 49)[0], "human").by_person


def test_shift_and_enter_go_on_editing(page: Page, service: Service) -> None:
    third, address = image_page(service, 3)
    fourth, _ = image_page(service, 4)
    page.goto(address)
    page.keyboard.press("1")
    page.keyboard.press("e")
    page.keyboard.type(" and more")
    page.keyboard.press("Shift+Enter")
    page.wait_for_url(f"**/{fourth}**")
    assert caption(service, third, "human").text == "an animal in the snow, 3 and more"
    page.wait_for_function("() => document.activeElement.id === 'text-human'")
    page.keyboard.type("left")
    page.keyboard.press("Escape")
    assert page.locator("#text-human").input_value() == "an animal in the snow, 4"


def test_nothing_typed_is_lost_by_walking_or_by_saving_another_set(page: Page, service: Service) -> None:
    sha256, address = image_page(service, 9)
    page.goto(address)
    page.fill("#text-human", "half a thou")
    page.click('[data-go="next"]')
    said(page, "Not saved yet: human")
    assert sha256 in page.url
    page.fill("#text-template", "a whole drawing")
    page.click('form[data-set="template"] [data-do="save"]')
    said(page, "Saved in template")
    assert page.locator("#text-human").input_value() == "half a thou"
    assert page.evaluate("document.activeElement.dataset.do") == "save"
    page.focus("#text-human")
    page.keyboard.press("Escape")
    page.keyboard.press("J")  # Caps Lock
    page.wait_for_url(f"**/{image_page(service, 10)[0]}**")
    assert caption(service, sha256, "human").text == "an animal in the snow, 9"


def test_the_focus_stays_on_next_and_the_image_is_told(page: Page, service: Service) -> None:
    page.goto(image_page(service, 20)[1])
    page.focus('[data-go="next"]')
    for number in (21, 22):
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/{image_page(service, number)[0]}**")
        page.wait_for_function("() => document.activeElement.dataset.go === 'next'")
        assert page.locator("#told").text_content() == f"{number:03}.png, {number + 1} of 301"


def test_arrows_start_at_the_image_in_sight_and_rows_have_no_gaps(page: Page) -> None:
    for width in (1300, 1100, 900, 700, 390):
        page.set_viewport_size({"width": width, "height": 800})
        page.goto("/datasets/zoo")
        columns = page.evaluate(
            "getComputedStyle(document.querySelector('.chunk')).gridTemplateColumns.split(' ').length"
        )
        assert 120 % columns == 0
    page.mouse.wheel(0, 1500)
    at_rest(page)
    page.keyboard.press("ArrowDown")
    assert page.evaluate("scrollY") > 1000


def test_what_somebody_else_changed_meanwhile_is_not_overwritten(page: Page, service: Service) -> None:
    from curator.caption_sets.revise import revise

    seventh, address = image_page(service, 7)
    page.goto(address)
    revise(service.lab.catalog, "zoo", "human", seventh, "by ben", "ben")
    page.fill("#text-human", "mine")
    page.keyboard.press("Enter")
    said(page, "zoo/human, 007.png: changed meanwhile by ben")
    assert page.locator("#text-human").input_value() == "mine"
    assert caption(service, seventh, "human").text == "by ben"


def test_keys_are_listed(page: Page, service: Service) -> None:
    page.goto(image_page(service, 1)[1])
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible() and "undo your last change" in page.locator("#keys").inner_text()
    page.keyboard.press("Escape")
    assert not page.locator("#keys").is_visible()


def test_commit_then_look_at_the_difference(page: Page, service: Service) -> None:
    from curator.caption_sets.revise import revise

    revise(service.lab.catalog, "zoo", "human", image_page(service, 30)[0], "a hare in the snow", "ana")
    page.goto("/sets/zoo/human")
    page.fill("input[name=message]", "checked by Ana")
    page.click("button:has-text('Commit')")
    page.wait_for_url("**said=**")
    assert "Committed zoo/human@2." in page.locator("main").inner_text()
    page.click("text=Against @1")
    page.wait_for_url("**/diff**")
    assert page.locator("ins").count() >= 1


def test_replace_and_undo(page: Page) -> None:
    page.goto("/datasets/zoo/replace")
    page.select_option("select[name=caption_set]", "template")
    page.fill("input[name=find]", "drawing")
    page.fill("input[name=replacement]", "sketch")
    page.keyboard.press("Enter")
    page.click("text=Replace in 300")
    page.click("button:has-text('Undo')")
    page.wait_for_url("**Undone**")


def test_compare(page: Page) -> None:
    page.goto("/compare")
    page.check("input[value=human]")
    page.check("input[value=template]")
    page.click("button:has-text('Compare')")
    page.wait_for_url("**sets=human**")
    assert page.locator(".side-by-side > li").count() == 12


def test_one_slider_moves_all_grids_through_the_epochs(page: Page, service: Service) -> None:
    page.goto("/snapshots")
    assert page.locator(".lineage a").count() == 1 + 2 + 1 + 2
    page.locator("table a").first.click()
    page.wait_for_url("**/snapshots/*")
    tiles = page.locator(".drawn image")
    assert tiles.count() == 4
    last = [tiles.nth(place).get_attribute("href") for place in range(4)]
    assert page.locator("output").inner_text() == "epoch 1"
    page.focus("input[type=range]")
    page.keyboard.press("ArrowLeft")
    assert page.locator("output").inner_text() == "before training"
    assert all(tiles.nth(place).get_attribute("href") != last[place] for place in range(4))
    page.select_option('[data-pick="prompt"]', "1")
    assert page.locator(".drawn svg:visible").count() == 2
    tile = page.locator(".drawn svg:visible").first.bounding_box()
    assert tile is not None and abs(tile["width"] - tile["height"]) < 2
    assert page.locator(".chart").count() >= 1


def test_choosing_by_box_by_range_and_by_key_then_accepting(page: Page, service: Service) -> None:
    page.goto("/datasets/zoo?show=human")
    page.locator(".pick").nth(10).check(force=True)
    page.locator(".pick").nth(13).click(modifiers=["Shift"], force=True)
    chosen = page.locator("[data-chosen]")
    assert chosen.inner_text() == "4 images chosen"
    for key in ("ArrowRight", "x", "ArrowRight", "ArrowRight", "Shift+X"):
        page.keyboard.press(key)
    assert chosen.inner_text() == "7 images chosen"
    place = page.evaluate("scrollY")
    page.keyboard.press(" ")  # leaves the last one, and scrolls nothing
    assert chosen.inner_text() == "6 images chosen" and page.evaluate("scrollY") == place
    page.click("text=Go on with them")
    page.wait_for_url("**/selection/**")
    assert page.locator("h1").inner_text() == "6 images chosen"
    page.click("text=Accept 6")
    page.wait_for_url("**said=**")
    assert caption(service, image_page(service, 12)[0], "human").strategy == "accept"
    page.click("button:has-text('Undo')")
    page.wait_for_url("**Undone**")
    assert not caption(service, image_page(service, 12)[0], "human").by_person


def test_all_that_was_found_are_chosen_also_those_not_loaded(page: Page) -> None:
    page.goto("/datasets/zoo")
    page.keyboard.press("a")
    assert page.locator("[data-chosen]").inner_text() == "301 images chosen"
    page.keyboard.press("Escape")
    assert page.locator(".pick:checked").count() == 0 and not page.locator("#selection").is_visible()
    page.keyboard.press("a")
    page.click("text=Go on with them")
    page.wait_for_url("**/selection/**")
    assert page.locator("h1").inner_text() == "301 images chosen"


def test_a_split_is_looked_at_before_it_is_exported(page: Page) -> None:
    page.goto("/versions")
    page.click("h3 a:has-text('human')")
    page.click("text=Preview a snapshot")
    page.wait_for_url("**/export?**")
    page.check("input[value='zoo/template@1']")
    page.fill("input[name=holdout]", "5")
    page.keyboard.press("Enter")
    page.wait_for_url("**holdout=5**")
    assert page.locator(".tally div").nth(1).inner_text().split() == ["5", "held", "out"]
    assert page.locator(".held-out li").count() == 5
    assert page.locator("button:has-text('Export 50 images')").is_visible()


def test_a_form_pressed_twice_changes_once(page: Page) -> None:
    page.goto("/sets/zoo/template")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    twice = "button => (button.click(), button.click())"
    page.locator("form[action$=restore] button").evaluate(twice)
    page.wait_for_url("**said=**")
    assert len(asked) == 1


def selection(service: Service) -> str:
    """The address of a selection of three images."""
    from curator.server.web.selections import Selections

    kept = Selections(service.lab.catalog.path.with_name("lab.duckdb.service"))
    name = kept.keep("zoo", [image_page(service, number)[0] for number in (1, 2, 3)])
    return f"/datasets/zoo/selection/{name}?caption_set=human"


def pages(service: Service) -> dict[str, str]:
    return {
        "datasets": "/",
        "gallery": "/datasets/zoo",
        "image": image_page(service, 1)[1],
        "versions": "/versions",
        "set": "/sets/zoo/human",
        "diff": "/diff?before=zoo/human@1&after=zoo/template@1",
        "compare": "/datasets/zoo/compare?sets=human&sets=template",
        "filters": "/datasets/zoo?min_length=3&metadata=title%3Danimal+7",
        "selection": selection(service),
        "export": "/datasets/zoo/export?text=zoo/human@1&also=zoo/template@1&holdout=5",
        "jobs": "/jobs",
        "replace": "/datasets/zoo/replace?caption_set=template&find=drawing&replacement=sketch",
        "snapshots": "/snapshots",
        "runs": f"/snapshots/{service.lab.catalog.snapshots()['identity'][0]}",
        "rejects": "/datasets/zoo/rejects",
        "annotation": "/annotation",
        "login": "/login",
    }


@pytest.mark.parametrize(("viewport", "scheme"), [(WIDE, "light"), (WIDE, "dark"), (PHONE, "light"), (PHONE, "dark")])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_window(
    browser: Browser, service: Service, viewport: Any, scheme: Any
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    context = browser.new_context(base_url=service.address, viewport=viewport, color_scheme=scheme)
    opened = context.new_page()
    found = {}
    for name, address in pages(service).items():
        opened.goto(address)
        opened.wait_for_load_state("networkidle")
        opened.screenshot(path=ARTEFACTS / f"{name}-{viewport['width']}-{scheme}.png")
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
        result = Axe().run(opened, options={"runOnly": {"type": "tag", "values": tags}})
        violations = [
            f"{one['id']}: {node['html'][:120]} {node['failureSummary'][:240]}"
            for one in result.response["violations"]
            for node in one["nodes"][:2]
        ]
        if opened.evaluate("document.documentElement.scrollWidth > innerWidth"):
            violations.append("wider than the window")
        if violations:
            found[name] = violations
    context.close()
    assert found == {}
