"""The whole way: pushed by us, refined by a person at the keyboard in a real browser, pulled into the catalog."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.curator.annotate.live import rounds
from tests.curator.annotate.live.browser import CHROMIUM, PATIENCE_MS, QUIET, Annotator
from tests.curator.annotate.live.pictures import Pictures
from tests.curator.annotate.live.rounds import Round
from tests.curator.annotate.live.server import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser


@pytest.fixture
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=QUIET)
        yield chromium
        chromium.close()


def test_what_a_person_does_at_the_page_arrives_in_the_catalog(
    browser: Browser, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lab").mkdir()
    pictures = Pictures(tmp_path / "lab")
    monkeypatch.setattr(rounds, "IMAGES_URL", pictures.url)
    round_ = Round(tmp_path / "lab", server, images=5)
    round_.push()
    account = server.add_annotator("eve-on-the-way@example.org")
    eve = Annotator(browser, server, account.email, account.password, (1440, 900))
    eve.open(round_.number)
    eve.wait_for_caption("a beast, number 0")
    eve.press("Tab", "1", "Control+Enter")
    eve.wait_for_caption("a beast, number 1")
    eve.write(", asleep")
    eve.press("Tab", "2", "Control+Enter")
    eve.wait_for_caption("a beast, number 2")
    eve.press("Tab", "Control+Space")
    eve.wait_for_caption("a beast, number 3")
    eve.press("Tab", "3", "Control+Enter")
    eve.wait_for_caption("a beast, number 4")
    assert round_.pull().outcomes == {"captioned": 2, "rejected": 1, "skipped": 1}
    eve.page.get_by_label("Previous task").click()
    eve.wait_for_caption("a beast, number 3")
    eve.write(", after all")
    eve.press("Tab", "2", "Control+Enter")
    ends, edited = time.monotonic() + PATIENCE_MS / 1000, 0
    while not edited and time.monotonic() < ends:
        edited = round_.pull().edited
    assert edited == 1
    eve.screenshot("round-trip")
    eve.page.close()

    texts = [round_.captions().get(image) for image in round_.images]
    assert texts == ["a beast, number 0", "a beast, number 1, asleep", None, "a beast, number 3, after all", None]
    assert round_.catalog.rejected_images("zoo") == []
    seen = round_.seen("person, origin, outcome, lead_time_seconds > 0, parent_caption_id IS NOT NULL", "updated_at")
    assert [(origin, outcome) for _, origin, outcome, *_ in seen] == [
        ("accepted", "captioned"),
        ("edited", "captioned"),
        ("accepted", "skipped"),
        ("accepted", "rejected"),
        ("edited", "captioned"),
    ]
    assert {(person, timed, parent) for person, _, _, timed, parent in seen} == {(account.email, True, True)}
    round_.close()
    pictures.stop()
