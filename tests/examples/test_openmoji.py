"""The OpenMoji example: its files agree with each other, and its selection doesn't depend on the input's order."""

from __future__ import annotations

import csv
import importlib.util
import random
import re
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "openmoji"


def read(name: str) -> list[dict[str, str]]:
    with (EXAMPLE / name).open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table, strict=True))


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("openmoji_make", EXAMPLE / "make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def record(hexcode: str, order: int, **fields: str) -> dict[str, Any]:
    defaults = {
        "annotation": "fox",
        "group": "animals-nature",
        "subgroups": "animal-mammal",
        "tags": "",
        "openmoji_tags": "",
        "openmoji_author": "A. Author",
        "skintone": "",
    }
    return {"hexcode": hexcode, "order": order, **defaults, **fields}


def test_every_row_has_an_image_and_every_image_a_row() -> None:
    rows = read("metadata.csv")
    images = sorted(path.name for path in (EXAMPLE / "images").iterdir())
    assert 250 <= len(rows) <= 320
    assert sorted(row["file_name"] for row in rows) == images


def test_metadata_is_filled(script: ModuleType) -> None:
    rows = read("metadata.csv")
    assert tuple(rows[0]) == script.COLUMNS
    assert [row["file_name"] for row in rows if not all(value and value.strip() for value in row.values())] == []
    assert {row["license"] for row in rows} == {"CC-BY-SA-4.0"}
    assert {row["group"] for row in rows} == {"animals-nature", "food-drink"}
    assert len({row["annotation"] for row in rows}) == len(rows)
    for row in rows:
        assert row["file_name"] == script.file_name(row)
        assert row["tags"] == script.clean_tags(row["tags"])
        assert row["hexcode"] in row["source_url"]


def test_images_are_256_px_rgba_with_a_transparent_corner() -> None:
    from PIL import Image

    for path in (EXAMPLE / "images").iterdir():
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGBA", (256, 256)), path.name
            assert image.getchannel("A").getextrema() == (0, 255), path.name


def test_the_example_is_at_most_6_megabytes() -> None:
    files = [path for path in EXAMPLE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) <= 6_000_000


def test_76_careful_captions() -> None:
    rows = read("human.csv")
    known = {row["file_name"]: row["group"] for row in read("metadata.csv")}
    captions = [row["caption"] for row in rows]
    assert list(rows[0]) == ["file_name", "caption"]
    assert len(rows) == len({row["file_name"] for row in rows}) == len(set(captions)) == 76
    assert Counter(known[row["file_name"]] for row in rows) == {"animals-nature": 50, "food-drink": 26}
    for caption in captions:
        assert re.fullmatch(r"[a-z][a-z' ,-]*[a-z]", caption), caption
        assert 8 <= len(caption.split()) <= 22, caption


def test_licence_file_names_the_licence_and_its_source() -> None:
    text = (EXAMPLE / "LICENSE.txt").read_text(encoding="utf-8")
    assert "CC BY-SA 4.0" in text
    assert "https://creativecommons.org/licenses/by-sa/4.0/" in text
    assert "https://openmoji.org/" in text


def test_selection_ignores_the_order_of_the_records(script: ModuleType) -> None:
    records = [record(f"1F{number:03X}", number // 2) for number in range(40)]
    expected = script.select(records)
    assert [one["hexcode"] for one in expected] == [one["hexcode"] for one in records]
    for seed in range(5):
        assert script.select(random.Random(seed).sample(records, len(records))) == expected


def test_selection_leaves_out_what_is_no_picture_of_its_subject(script: ModuleType) -> None:
    kept = record("1F98A", 9)
    left_out = [
        record("1F600", 1, group="smileys-emotion"),
        record("1F98B", 2, skintone="1"),
        record("1F374", 3, group="food-drink", subgroups="dishware"),
        record("E000", 4, group="extras-openmoji"),
        *(record(hexcode, 5) for hexcode in script.EXCLUDED_HEXCODES),
    ]
    assert script.select([*left_out, kept]) == [kept]


def test_names_and_tags_are_cleaned(script: ModuleType) -> None:
    assert script.file_name(record("1F996", 1, annotation="T-Rex")) == "1F996-t-rex.png"
    assert script.file_name(record("1F9C9", 1, annotation="maté  (drink)")) == "1F9C9-mate-drink.png"
    assert script.clean_tags("Fox,  red   fur,, fox ", "", "Cafe\u0301") == "fox, red fur, café"


def test_a_folder_that_is_no_package_is_one_line(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"openmoji\.json: no such file; --package takes"):
        script.make(tmp_path, tmp_path / "out", lambda done, total: None)
    assert not (tmp_path / "out").exists()


def test_making_writes_pictures_and_removes_strays(script: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("resvg_py", reason="only needed to make the example again")
    package, out = tmp_path / "package", tmp_path / "out"
    (package / "data").mkdir(parents=True)
    (package / "color" / "svg").mkdir(parents=True)
    (out / "images").mkdir(parents=True)
    (out / "images" / "old.png").write_bytes(b"old")
    (package / "data" / "openmoji.json").write_text(script.json.dumps([record("1F98A", 1, tags="fox")]))
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 72"><circle cx="36" cy="36" r="20"/></svg>'
    (package / "color" / "svg" / "1F98A.svg").write_text(svg)
    seen: list[tuple[int, int]] = []
    assert script.make(package, out, lambda done, total: seen.append((done, total))) == 1
    assert seen == [(1, 1)]
    assert [path.name for path in (out / "images").iterdir()] == ["1F98A-fox.png"]
    assert (out / "metadata.csv").read_text(encoding="utf-8").splitlines()[1].startswith("1F98A-fox.png,fox,")
