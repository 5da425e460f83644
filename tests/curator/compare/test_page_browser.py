"""The page in a real browser: it fits a phone and a desk, in light and dark, asks for nothing, shows its pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from curator.compare import compare
from tests.curator.lab import Lab

pytestmark = pytest.mark.browser
LOOK = """() => ({
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  pictures: [...document.images].filter((image) => image.complete && image.naturalWidth > 0).length,
  paper: getComputedStyle(document.body).backgroundColor,
  headings: [...document.querySelectorAll("h3")].map((heading) => heading.textContent),
})"""


def test_it_fits_and_needs_no_network(lab: Lab, tokenizer: str, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    page = tmp_path / "page.html"
    compare(lab.catalog, "zoo", ["t@1", "h@1", "w@1"], tokenizer=tokenizer, page=page)
    seen, asked, complaints = {}, [], []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for width in (390, 1440):
            for scheme in ("light", "dark"):
                tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                tab.on("request", lambda request: asked.append(request.url))
                tab.on("console", lambda message: complaints.append(message.text))
                tab.goto(page.as_uri())
                tab.evaluate("document.querySelectorAll('img').forEach((image) => (image.loading = 'eager'))")
                tab.wait_for_function("() => [...document.images].every((image) => image.complete)")
                seen[width, scheme] = tab.evaluate(LOOK)
        browser.close()
    assert [look["overflow"] for look in seen.values()] == [0, 0, 0, 0]
    assert {look["pictures"] for look in seen.values()} == {3}
    assert seen[390, "light"]["paper"] != seen[390, "dark"]["paper"]
    assert "Where they differ most" in seen[1440, "light"]["headings"]
    assert {url.split(":")[0] for url in asked} <= {"file", "data"}
    assert complaints == []
