"""Captions brought in from sidecar files and columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curator import captioners
from schemas.errors import BadOption
from tests.curator.fill import sha


def images(folder: Path, count: int, **columns: list[Any]) -> pl.DataFrame:
    """Images 0.png, 1.png, ... in a folder."""
    paths = [str(folder / f"{number}.png") for number in range(count)]
    return pl.DataFrame({"image_sha256": [sha(n) for n in range(count)], "image_path": paths, **columns})


def run(name: str, batch: pl.DataFrame, **options: Any) -> tuple[list[Any], list[tuple[str, str]]]:
    """(text, reason, failed) of each image, and the rejects."""
    captioner = captioners.load(name)
    parsed = captioner.options.model_validate(options)
    assert captioner.read
    reading = captioner.read(batch, parsed)
    made = captioner.caption(batch.hstack(reading.columns), parsed)
    return made.rows(), [(reject.where.rpartition(":")[2], reject.reason) for reject in reading.rejects]


def test_sidecars(tmp_path: Path) -> None:
    (tmp_path / "0.txt").write_text("a fox", encoding="utf-8-sig")
    (tmp_path / "1.txt").write_bytes(b"caf\xe9")
    (tmp_path / "2.txt").write_text("", encoding="utf-8")
    (tmp_path / "4.png.txt").write_text("an owl", encoding="utf-8")
    (tmp_path / "5.txt").mkdir()
    rows, _ = run("sidecar", images(tmp_path, 6))
    assert rows[0] == ("a fox", None, False)
    assert rows[1] == (None, "the .txt file isn't UTF-8", True)
    assert rows[2] == ("", None, False)
    assert rows[3] == (None, "no .txt file beside the image", False)
    assert rows[4] == ("an owl", None, False)
    assert rows[5][2]


def test_another_extension(tmp_path: Path) -> None:
    (tmp_path / "0.caption").write_text("a fox", encoding="utf-8")
    assert run("sidecar", images(tmp_path, 1), extension=".caption")[0][0][0] == "a fox"
    with pytest.raises(BadOption, match="extension"):
        captioners.parse_options(captioners.load("sidecar"), ["extension=../x"])


def test_a_column_of_the_metadata(tmp_path: Path) -> None:
    captioner = captioners.load("column")
    options = captioner.options.model_validate({"column": "alt"})
    assert captioner.fields(options, []) == ["alt"]
    batch = images(tmp_path, 3, alt=[" a fox ", "", None])
    rows, rejects = run("column", batch, column="alt")
    assert rows == [
        ("a fox", None, False),
        (None, "nothing in column alt", False),
        (None, "nothing in column alt", False),
    ]
    assert rejects == []
    assert run("column", images(tmp_path, 1, alt=[["a", "b"]]), column="alt")[0][0][0] == "a, b"


ROWS = [("./0.png", "a fox"), ("9.png", "nobody"), ("0.png", "again"), ("1b.png", "by its other name"), ("2.png", "")]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_a_column_of_a_file(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"human{suffix}"
    table = pl.DataFrame(ROWS, schema=["file_name", "caption"], orient="row")
    if suffix in (".csv", ".tsv"):
        table.write_csv(path, separator="," if suffix == ".csv" else "\t")
    elif suffix == ".parquet":
        table.write_parquet(path)
    elif suffix == ".json":
        path.write_text(json.dumps(table.to_dicts()), encoding="utf-8")
    else:
        table.write_ndjson(path)
    batch = images(tmp_path, 4, file_names=[["0.png"], ["1.png", "1b.png"], ["2.png"], ["3.png"]])
    rows, rejects = run("column", batch, column="caption", file=path)
    assert [row[0] for row in rows] == ["a fox", "by its other name", None, None]
    assert rows[3][1] == f"no caption in human{suffix}"
    header = suffix in (".csv", ".tsv")  # lines of a file with a header, else rows
    assert sorted(rejects) == [(str(2 + header), "row-without-image"), (str(3 + header), "duplicate-row")]


def test_a_second_name_of_an_image_that_has_its_caption(tmp_path: Path) -> None:
    path = tmp_path / "human.csv"
    path.write_text("file_name,caption\n1.png,first\n1b.png,second\n", encoding="utf-8")
    batch = images(tmp_path, 1, file_names=[["1.png", "1b.png"]])
    rows, rejects = run("column", batch, column="caption", file=path)
    assert rows[0][0] == "first"
    assert rejects == [("3", "duplicate-row")]


def test_rows_of_a_file_that_cant_be_used_are_rejects(tmp_path: Path) -> None:
    """Neither does one bad line cost the file, nor is any skipped in silence."""
    path = tmp_path / "human.csv"
    path.write_bytes(b"\xef\xbb\xbffile_name,caption\n0.png,x,y\n1.png,caf\xe9\n,nobody\nu\xcc\x88.png,owl\n")
    batch = images(tmp_path, 3, file_names=[["0.png"], ["1.png"], ["\u00fc.png"]])
    rows, rejects = run("column", batch, column="caption", file=path)
    assert [row[0] for row in rows] == [None, None, "owl"]
    assert rejects == [("2", "bad-row"), ("3", "bad-row"), ("4", "bad-row")]
    assert rows[0] == (None, "no caption in human.csv, but 3 of its rows can't be read", True)


def test_cells_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    lines = [("0.png", ["a", None, 2]), (["1.png"], "x"), ("2.png", {"a": 1}), ("3.png", True)]
    path.write_text("".join(json.dumps({"file_name": n, "caption": c}) + "\n" for n, c in lines), encoding="utf-8")
    batch = images(tmp_path, 4, file_names=[[f"{n}.png"] for n in range(4)])
    rows, rejects = run("column", batch, column="caption", file=path)
    assert [row[0] for row in rows] == ["a, 2", None, '{"a": 1}', "true"]
    assert rejects == [("2", "row-without-image")]


def test_a_file_joined_on_a_metadata_field(tmp_path: Path) -> None:
    path = tmp_path / "codes.csv"
    path.write_text("code,words\n1F98A,fox\n1F989,owl\n", encoding="utf-8")
    batch = images(tmp_path, 3, code=["1F98A", "1F98A", None])
    rows, rejects = run("column", batch, column="words", file=path, join_on="code")
    assert [row[0] for row in rows] == ["fox", "fox", None]
    assert rejects == [("3", "row-without-image")]


def test_numbers_in_a_file_are_text(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"code": 7, "words": 12}\n', encoding="utf-8")
    rows, _ = run("column", images(tmp_path, 1, code=["7"]), column="words", file=path, join_on="code")
    assert rows[0][0] == "12"


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("none.csv", None, {}, "can't be read"),
        ("bad.json", "{", {}, "not JSON"),
        ("no.csv", "file_name,c\na,b\n", {"column": "file_name"}, "it names the images"),
        ("bad.txt", "x", {}, "one of .csv"),
        ("no.csv", "file_name,text\na,b\n", {}, "no such column. It has: file_name, text"),
        ("no.csv", "name,caption\na,b\n", {}, "Columns: name, caption. Choose one with -o join_on"),
    ],
)
def test_a_file_that_cant_be_used(
    name: str, content: str | None, options: dict[str, str], message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(BadOption) as error:
        run("column", images(tmp_path, 1, file_names=[["0.png"]]), **{"column": "caption", "file": path, **options})
    assert message in str(error.value)
    assert str(path) in str(error.value)
