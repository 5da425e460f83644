"""The image page in a browser: keys, edits, focus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page
from tests.curator.server.web.conftest import Service, said
from tests.curator.server.web.test_in_browser import at_rest, caption, image_page

pytestmark = pytest.mark.browser


def test_next_accept_edit_and_undo_by_keyboard(page: Page, service: Service) -> None:
    first, address = image_page(service, 1)
    second, _ = image_page(service, 2)
    page.goto(f"{address}?show=human")
    page.keyboard.press("2")  # the set `template`
    said(page, "Keys apply to template")
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
