"""The palette stands once, ships with the package, and begins every page's style."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from schemas.edge.palette import stylesheet

ROOT = Path(__file__).parents[3]
FILES = [path for program in ("curator", "trainer_client") for path in sorted((ROOT / program).rglob("*.*"))]
PAGES = [path for path in FILES if path.suffix in {".css", ".html"}]
OVERRIDES = {
    "curator/server/web/static/amatl.css": {"--soft", "--k1", "--rule"},
    "trainer_client/compare/page/style.css": {"--paper", "--sheet", "--ink", "--soft", "--rule", "--hair", "--accent"},
}


def colours(css: str) -> set[str]:
    """The custom properties that are given a colour."""
    return set(re.findall(r"(--[\w-]+): #", css))


def test_light_and_dark_have_the_same_colours() -> None:
    light, dark = stylesheet().split("@media")
    assert colours(light) == colours(dark) >= {"--paper", "--ink", "--k0", "--k5"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_page_has_a_palette_of_its_own(path: Path) -> None:
    own = colours(path.read_text(encoding="utf-8")) & colours(stylesheet())
    assert own == OVERRIDES.get(path.relative_to(ROOT).as_posix(), set())


def test_a_style_comes_after_the_palette(tmp_path: Path) -> None:
    (tmp_path / "own.css").write_text("body { margin: 0; }")
    text = stylesheet(tmp_path / "own.css")
    assert text.startswith(stylesheet()) and text.endswith("body { margin: 0; }")
