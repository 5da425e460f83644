"""An annotator at the page, in a real Chromium: what the keyboard does, and what they see."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.curator.annotate.live.server import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

CHROMIUM = "/usr/bin/chromium"
ARTEFACTS = Path(__file__).parents[4] / "artefacts"  # ignored by git; CI keeps it
QUIET = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
PATIENCE_MS = 60_000


class Annotator:
    """One logged-in person in a window of their own. `outside`: every address the page asked beyond this computer."""

    def __init__(self, browser: Browser, server: Server, email: str, password: str, size: tuple[int, int]) -> None:
        self.server = server
        self.page: Page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        self.page.set_default_timeout(PATIENCE_MS)
        self.outside: list[str] = []
        self.page.on("request", self._note)
        self.page.goto(f"{server.url}/user/login/")
        self.page.fill("input[name=email]", email)
        self.page.fill("input[name=password]", password)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url(lambda url: "/user/login" not in url)

    def open(self, project: int) -> None:
        """Starts labeling: the first open task, behind the instructions, which are closed."""
        self.page.goto(f"{self.server.url}/projects/{project}/data?labeling=1")
        self.box.wait_for()
        self.page.get_by_text("Labeling Instructions").wait_for()
        self.page.keyboard.press("Escape")
        self.page.get_by_text("Labeling Instructions").wait_for(state="hidden")

    @property
    def box(self) -> Locator:
        """The caption's text box."""
        return self.page.locator("textarea[name^=final_caption]").first

    def press(self, *keys: str) -> None:
        """Keys, one after another, as fast as a person."""
        for key in keys:
            self.page.keyboard.press(key, delay=20)
            self.page.wait_for_timeout(80)

    def write(self, text: str) -> None:
        """Types at the end of the box, which must have the focus."""
        for _ in range(20):
            self.press("Control+End")
            if self.box.evaluate("box => box === document.activeElement && box.selectionStart === box.value.length"):
                break
        self.page.keyboard.type(text)

    def wait_for_caption(self, text: str) -> None:
        """Until the box shows this, has the focus and stays: while a task loads, Label Studio makes it thrice.

        That takes a fifth of a second on a quiet machine, less than a person needs to see that the caption is another
        one; what is typed within it vanishes before their eyes.
        """
        before, since = "", time.monotonic()
        while time.monotonic() < since + 1.0:
            self.page.wait_for_function(
                "text => (e => e.name?.startsWith('final_caption') && e.value === text)(document.activeElement)",
                arg=text,
            )
            name = str(self.page.evaluate("document.activeElement.name"))
            if name != before:
                before, since = name, time.monotonic()
            self.page.wait_for_timeout(50)

    def picture_is_shown(self) -> bool:
        """Whether a picture of some size is on the page."""
        return bool(
            self.page.evaluate("[...document.querySelectorAll('.lsf-image img')].some(i => i.naturalWidth > 1)")
        )

    def screenshot(self, name: str) -> None:
        """Keeps what is seen now."""
        ARTEFACTS.mkdir(exist_ok=True)
        self.page.screenshot(path=ARTEFACTS / f"label-studio-{name}.png")

    def _note(self, request: object) -> None:
        url: str = request.url  # type: ignore[attr-defined]
        if not url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            self.outside.append(url)
