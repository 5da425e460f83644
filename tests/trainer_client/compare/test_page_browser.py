"""The page in a real browser: axes switch, the film moves, tiles enlarge, tabs turn. A script in a copy drives it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.trainer_client.compare.synthetic_runs import TRACKS, Plan, make_run
from trainer_client.compare import compare

pytestmark = pytest.mark.browser
FLAGS = """
--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --virtual-time-budget=3000 --dump-dom
"""
PROBE = """<script>
const seen = {};
const set = (label, value) => {
  const box = document.querySelector(`#g0 [data-controls] select[aria-label="${label}"]`);
  box.value = value;
  box.dispatchEvent(new Event("change"));
};
const grid = () => document.querySelector("#g0 [data-grid] table");
const head = () => [...grid().tHead.rows[0].cells].slice(1).map((cell) => cell.textContent);
const side = () => [...grid().tBodies[0].rows].map((row) => row.cells[0].textContent);
const boxes = () => [...document.querySelectorAll("#g0 [data-controls] select")];
const controls = () => boxes().map((box) => box.getAttribute("aria-label"));
seen.start = { head: head(), controls: controls() };
set("Rows", "epoch"); set("Columns", "seed");
seen.switched = { head: head(), side: side(), controls: controls() };
set("Rows", "seed");
seen.swapped = { head: head(), side: side() };
set("Rows", "run"); set("Columns", "epoch"); set("Seed", "1");
seen.label = grid().querySelector("tbody tr:last-child button:last-of-type").getAttribute("aria-label");
const stops = () => [...grid().querySelectorAll("button.tile")].filter((tile) => tile.tabIndex === 0);
seen.stops = stops().length;
stops()[0].focus();
stops()[0].dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
seen.focused = document.activeElement.getAttribute("aria-label");
document.activeElement.click();
const dialog = document.getElementById("enlarged");
seen.open = dialog.open;
dialog.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
seen.enlarged = dialog.querySelector("figcaption").textContent;
dialog.close();
const strip = document.querySelectorAll("#g0 .key tbody tr")[2].querySelectorAll("button.tile")[1];
strip.click();
seen.strip = dialog.querySelector("figcaption").textContent;
dialog.close();
const slider = document.querySelector("#g0 input[type=range]");
slider.value = 2;
slider.dispatchEvent(new Event("input"));
seen.film = document.querySelector("#g0 .epoch-now").textContent;
seen.tabs = [...document.querySelectorAll(".group")].map((group) => group.hidden);
document.querySelectorAll("[role=tab]")[1].click();
seen.turned = [...document.querySelectorAll(".group")].map((group) => group.hidden);
seen.wide = document.documentElement.scrollWidth <= innerWidth;
document.body.append(Object.assign(document.createElement("pre"), { id: "seen", textContent: JSON.stringify(seen) }));
</script></body>"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert browser, "the browser tests need Chromium: apt-get install chromium"
    root = tmp_path_factory.mktemp("browser")
    for track in TRACKS:
        make_run(root / "runs" / track, Plan(captions=track))
    make_run(root / "study" / "template", Plan())
    compare([root / "runs" / track for track in TRACKS], root / "r.html", [root / "study"])
    return drive(browser, root)


def drive(browser: str, root: Path) -> dict[str, Any]:
    probed = root / "probed.html"
    probed.write_text((root / "r.html").read_text().replace("</body>", PROBE))
    command = [browser, *FLAGS.split(), f"--user-data-dir={root / 'profile'}", probed.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr
    result: dict[str, Any] = json.loads(found[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    return result


def test_axes_switch_and_the_rest_is_fixed_by_controls(seen: dict[str, Any]) -> None:
    assert seen["start"] == {"head": ["real", *TRACKS], "controls": ["Rows", "Columns", "Epoch", "Seed"]}
    assert seen["switched"] == {
        "head": ["1", "2"],
        "side": ["base", "1", "3"],
        "controls": ["Rows", "Columns", "Captions", "Prompt"],
    }
    assert seen["swapped"] == {"head": ["base", "1", "3"], "side": ["1", "2"]}


def test_a_tile_says_what_it_is(seen: dict[str, Any]) -> None:
    assert seen["label"].startswith("human, ") and seen["label"].endswith("seed 2")


def test_arrow_keys_move_and_enter_enlarges(seen: dict[str, Any]) -> None:
    assert seen["stops"] == 1
    assert seen["focused"].startswith("empty, epoch 1,")
    assert seen["open"] is True and seen["enlarged"] == "empty, epoch 3, seed 2"


def test_the_key_picture_enlarges_too(seen: dict[str, Any]) -> None:
    assert seen["strip"] == "template, epoch 1, seed 1"


def test_the_film_follows_its_slider(seen: dict[str, Any]) -> None:
    assert seen["film"] == "epoch 3"


def test_tabs_show_one_group_at_a_time(seen: dict[str, Any]) -> None:
    assert seen["tabs"] == [False, True] and seen["turned"] == [True, False]


def test_nothing_is_wider_than_the_window(seen: dict[str, Any]) -> None:
    assert seen["wide"] is True
