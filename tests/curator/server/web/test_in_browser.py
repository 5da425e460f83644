"""Each page's main task in a real browser, by keyboard where a person would; no page breaks its content policy, and axe
finds nothing against WCAG 2.2 AA, light, dark and on a phone. Screenshots are kept in artefacts/pages/.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from curator.datasets.image import image_caption
from tests.curator.server.web.conftest import PHONE, WIDE, Service

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
ARTEFACTS = Path(__file__).parents[4] / "artefacts" / "pages"


def image_page(service: Service, number: int) -> tuple[str, str]:
    image = service.lab.run(f"SELECT image_sha256 FROM files WHERE file_name = '{number:03}.png'")[0][0]
    return image, f"/datasets/zoo/images/{image}"


def caption(service: Service, image: str, set_name: str) -> Any:
    return image_caption(service.lab.catalog, "zoo", image, set_name)


def at_rest(page: Page) -> None:
    """Wait until the page has stopped scrolling."""
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
    page.click("text=Compare with @1")
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
    tiles = page.locator(".samples image")
    assert tiles.count() == 4
    last = [tiles.nth(place).get_attribute("href") for place in range(4)]
    assert page.locator("output").inner_text() == "epoch 1"
    page.focus("input[type=range]")
    page.keyboard.press("ArrowLeft")
    assert page.locator("output").inner_text() == "before training"
    assert all(tiles.nth(place).get_attribute("href") != last[place] for place in range(4))
    page.select_option('[data-pick="prompt"]', "1")
    assert page.locator(".samples svg:visible").count() == 2
    tile = page.locator(".samples svg:visible").first.bounding_box()
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
    page.click("text=Use chosen images")
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
    page.click("text=Use chosen images")
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
    """Return the address of a selection of three images."""
    from curator.server.web.selections import Selections

    selections = Selections(service.lab.catalog.path.with_name("lab.duckdb.service"))
    name = selections.store("zoo", [image_page(service, number)[0] for number in (1, 2, 3)])
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
