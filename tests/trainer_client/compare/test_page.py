"""The page: one file, nothing fetched, nothing injected, every essential in the markup itself."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from schemas.digest import sha256_file
from schemas.document import FileRef
from schemas.run import ExampleImage, Grid, Prompt
from tests.trainer_client.compare.synthetic_runs import TRACKS, Plan, make_run, prompts, sha
from trainer_client.compare import compare
from trainer_client.compare.page.charts import Panel, Series, chart, ticks, y_range
from trainer_client.compare.page.sprites import Sheets
from trainer_client.compare.runs import Run

VOID = {"meta", "br", "hr", "img", "input", "line", "polyline", "polygon", "circle", "link"}
NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & \"quoted\" 'too'"


class Reader(HTMLParser):
    """Collects elements with their attributes and checks that they nest."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes <{self.open[-1:]}>"
        self.open.pop()


def read(html: str) -> list[tuple[str, dict[str, str]]]:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader.elements


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two groups: live runs, and a study beside them."""
    root = tmp_path_factory.mktemp("page")
    for track in TRACKS:
        make_run(root / "runs" / track, Plan(captions=track))
        make_run(root / "study" / track, Plan(captions=track, epochs=(0, 1, 2, 5)))
    compare(sorted((root / "runs").iterdir()), root / "r.html", [root / "study"])
    return (root / "r.html").read_text()


def test_nothing_is_fetched(page: str) -> None:
    for tag, attributes in read(page):
        assert tag not in {"link", "iframe", "object", "embed", "base", "img"}
        assert "src" not in attributes and "srcset" not in attributes
        assert attributes.get("href", "#").startswith("#")
    assert "http:" not in page and "https:" not in page and "@import" not in page
    assert all(target.startswith("data:image/webp;base64,") for target in re.findall(r"url\(([^)]*)\)", page))
    assert "default-src 'none'" in page


def test_ids_are_unique_and_links_lead_somewhere(page: str) -> None:
    elements = read(page)
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [attributes["href"][1:] for tag, attributes in elements if tag == "a"]
    labelled = [attributes["aria-labelledby"] for _, attributes in elements if "aria-labelledby" in attributes]
    assert set(targets + labelled) <= set(ids)


def test_without_script_the_essentials_are_there(page: str) -> None:
    body = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    tiles = [attributes for tag, attributes in read(body) if "tile" in attributes.get("class", "").split()]
    labels = {attributes.get("aria-label") for attributes in tiles}
    for track in TRACKS:
        for epoch in (0, 1, 3):
            assert f"{track}, epoch {epoch}, “openmoji drawing of a fox”, seed 1" in labels
    assert all(attributes.get("role") == "img" for attributes in tiles)
    assert body.index("These runs") < body.index("Beside: ")
    for words in ("What the figures say", "Held-out loss, change from the base", "How it was measured", "Cost"):
        assert words in body


def test_every_tile_has_its_sheet_and_lies_within_it(page: str) -> None:
    shapes = {name: (int(w), int(h)) for name, w, h in re.findall(r"\.(s\d+)\{--w:(\d+);--h:(\d+)", page)}
    used = set()
    for _, attributes in read(page):
        found = re.search(r"\btile (s\d+)", attributes.get("class", ""))
        if found:
            x, y = map(int, re.findall(r"--[xy]:(\d+)", attributes["style"]))
            width, height = shapes[found[1]]
            assert 0 <= x < width and 0 <= y < height
            used.add(found[1])
    assert used


def test_the_base_is_embedded_once(page: str) -> None:
    # 4 runs x 2 trained checkpoints, 4 x 3 beside, less equal pictures; one base, one strip of real pictures for all
    sheets = re.findall(r"\.s\d+\{[^}]*base64,([^)]*)\)", page)
    assert len(sheets) == len(set(sheets))
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert len({by_epoch["0"] for group in data for by_epoch in group["sheets"]}) == 1


def test_roles_are_in_words_and_captions_beside_pictures(page: str) -> None:
    for words in (
        "caption of a held-out image (template)",
        "nothing to do with the training",
        "says nothing in particular",
    ):
        assert words in page
    assert "a small friendly thing, number 2, seen from the side" in page and "(empty)" in page


def test_groups_carry_date_and_device(page: str) -> None:
    assert page.count("23 Nov 2026") >= 4 and page.count("CPU, 2 cores") >= 4


def test_captions_and_prompts_cannot_inject(tmp_path: Path) -> None:
    suite = [Prompt(text=NASTY, role="held-out-caption", image_sha256=sha("image 0"), track="human"), *prompts(3)[1:]]
    captions = {"template": NASTY, "human": NASTY}
    examples = [
        ExampleImage(image_sha256=sha(f"image {number}"), split="train", captions=captions) for number in range(3)
    ]
    make_run(tmp_path / "a", Plan(name=NASTY, prompts=suite, fields={"examples": examples}, config={"note": NASTY}))
    compare([tmp_path / "a"], tmp_path / "r.html")
    html = (tmp_path / "r.html").read_text()
    elements = read(html)
    assert [tag for tag, _ in elements].count("script") == 2
    assert all(not name.startswith("on") for _, attributes in elements for name in attributes)
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])  # type: ignore[index]
    assert data[0]["prompts"][0]["text"] == NASTY


@pytest.mark.parametrize(
    "fields",
    [{"prompts": [], "prompt_references": []}, {"examples": [], "references": None, "prompt_references": [None] * 4}],
)
def test_runs_without_prompts_or_examples_still_make_a_page(tmp_path: Path, fields: dict[str, object]) -> None:
    if "prompts" in fields:
        make_run(tmp_path / "a", Plan(fields=fields, prompts=prompts(4)))
    else:
        make_run(tmp_path / "a", Plan(fields=fields))
    compare([tmp_path / "a"], tmp_path / "r.html")
    read((tmp_path / "r.html").read_text())


def test_a_run_without_grids_or_evaluation_still_makes_a_page(tmp_path: Path) -> None:
    report = make_run(tmp_path / "a", Plan())
    bare = [point.model_copy(update={"grid": None, "evaluation": None}) for point in report.checkpoints]
    report.model_copy(update={"checkpoints": bare}).write(tmp_path / "a" / "run.json")
    compare([tmp_path / "a"], tmp_path / "r.html")
    html = (tmp_path / "r.html").read_text()
    read(html)
    assert "No checkpoint of these runs has a grid." in html and "No checkpoint was evaluated" in html


def test_a_checkpoint_that_one_run_lacks_is_an_empty_place(tmp_path: Path) -> None:
    make_run(tmp_path / "a", Plan("template"))
    make_run(tmp_path / "b", Plan("human", epochs=(0, 3)))
    compare([tmp_path / "a", tmp_path / "b"], tmp_path / "r.html")
    assert 'class="tile none"' in (tmp_path / "r.html").read_text()


def sheet_of(tmp_path: Path, plan: Plan) -> tuple[Sheets, Image.Image]:
    make_run(tmp_path / "run", plan)
    run = Run.open(tmp_path / "run")
    grid = run.report.checkpoints[-1].grid
    assert grid is not None
    sheets = Sheets()
    sheets.add(run.folder, grid)
    with Image.open(run.folder / grid.file.path) as file:
        return sheets, file.convert("RGB")


def embedded(style: str) -> Image.Image:
    found = re.search(r"base64,([^)]*)\)", style)
    assert found
    return Image.open(io.BytesIO(base64.b64decode(found[1])))


def test_small_tiles_keep_their_size_and_look(tmp_path: Path) -> None:
    sheets, original = sheet_of(tmp_path, Plan(tile_px=64))
    style = sheets.style()
    picture = embedded(style)
    assert picture.format == "WEBP" and picture.size == original.size and "pixelated" in style
    errors = [abs(a - b) for a, b in zip(picture.convert("L").tobytes(), original.convert("L").tobytes(), strict=True)]
    assert sum(errors) / len(errors) < 3


def test_large_tiles_are_scaled_down(tmp_path: Path) -> None:
    sheets, original = sheet_of(tmp_path, Plan(tile_px=512))
    style = sheets.style()
    assert embedded(style).size == (original.width * 192 // 512, original.height * 192 // 512)
    assert "pixelated" not in style


@pytest.mark.slow
def test_a_budget_that_is_too_small_costs_quality_then_size(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    path = tmp_path / "noise.png"
    Image.fromarray(noise).resize((384, 384)).save(path)
    file = FileRef(path=path.name, sha256=sha256_file(path), size_bytes=path.stat().st_size)
    sheets = Sheets()
    sheets.add(tmp_path, Grid(file=file, rows=2, columns=2, tile_px=192))
    best = len(sheets.style())
    worse = sheets.style(budget_bytes=best // 4)
    assert len(worse) < best / 2 and embedded(worse).width == 384
    assert embedded(sheets.style(budget_bytes=1)).width == 128


def test_webp_goes_in_as_it_is(tmp_path: Path) -> None:
    sheets, _ = sheet_of(tmp_path, Plan(tile_px=64, format="WEBP"))
    content = sorted((tmp_path / "run" / "grids").glob("epoch-*.webp"))[-1].read_bytes()
    assert base64.b64encode(content).decode() in sheets.style()


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-0.03, 0.004, [-0.03, -0.02, -0.01, 0]),
        (0, 0.0007, [0, 0.0002, 0.0004, 0.0006]),
    ],
)
def test_ticks_are_round_and_hold_zero(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_a_chart_of_nothing_and_of_one_point() -> None:
    from schemas.comparison import Estimate

    nothing = Panel("empty", [Series("a", 0, {})])
    assert "Not measured" in chart(nothing, y_range([nothing]), [])
    one = Panel("one", [Series("a <b>", 0, {0: Estimate(mean=0, low=0, high=0, count=5)})])
    assert "nan" not in (svg := chart(one, y_range([one]), [0])) and "a &lt;b&gt;" in svg
