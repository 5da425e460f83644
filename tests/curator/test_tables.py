"""Metadata tables in every format: what a row becomes, and every way it can be wrong."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from curator.images.unusable import Reason
from curator.tables import BadTable, Table, read_table


def table(tmp_path: Path, name: str, content: str | bytes, join_on: str = "file_name") -> Table:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path, join_on)


def values(table: Table) -> dict[str, object]:
    return {key: json.loads(row.metadata) for key, row in table.rows.items()}


def rejects(table: Table) -> list[tuple[str, Reason]]:
    return [(Path(reject.path).name, reject.reason) for reject in table.rejects]


FOX_ROW = '{"file_name": "fox.png", "text": "a red fox", "size": 3}'
OWL_ROW = '{"file_name": "owl.png", "text": "é", "size": null}'
FOX = {"fox.png": {"text": "a red fox", "size": 3}, "owl.png": {"text": "é", "size": None}}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.jsonl", f"{FOX_ROW}\n\n{OWL_ROW}\n"),
        ("t.ndjson", f"\ufeff{FOX_ROW}\n{OWL_ROW.replace('owl', './owl')}"),
        ("t.json", f"[{FOX_ROW}, {OWL_ROW}]"),
        ("t.json", json.dumps(FOX)),
    ],
)
def test_json_keeps_its_types(tmp_path: Path, name: str, content: str) -> None:
    read = table(tmp_path, name, content)
    assert (values(read), read.rejects) == (FOX, [])


def test_parquet_keeps_its_types_and_leaves_binary_columns_out(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"file_name": ["fox.png"], "tags": [["red", "fox"]], "day": [date(2026, 1, 2)], "image": [{"bytes": b"\xff"}]}
    )
    frame.write_parquet(tmp_path / "t.parquet")
    read = read_table(tmp_path / "t.parquet", "file_name")
    assert values(read) == {"fox.png": {"tags": ["red", "fox"], "day": "2026-01-02"}}
    assert read.notes == ["t.parquet: binary columns are left out: image"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_values_stay_text(tmp_path: Path, delimiter: str) -> None:
    content = '\ufefffile_name,number,text\r\nfox.png,007,"two\r\nlines, ""quoted"""\r\n\r\nowl.png,,\r\n'
    if delimiter != ",":
        content = content.replace("lines, ", "lines: ").replace(",", delimiter)
    read = table(tmp_path, "t.csv", content)
    expected = 'two\r\nlines, "quoted"' if delimiter == "," else 'two\r\nlines: "quoted"'
    assert values(read) == {"fox.png": {"number": "007", "text": expected}, "owl.png": {"number": "", "text": ""}}
    assert [Path(row.place).name for row in read.rows.values()] == ["t.csv:2", "t.csv:5"]


def test_tsv_is_split_at_tabs(tmp_path: Path) -> None:
    assert values(table(tmp_path, "t.tsv", "file_name\ta,b\nfox.png\tx,y\n")) == {"fox.png": {"a,b": "x,y"}}


def test_bad_csv_lines_are_rejects_and_the_rest_is_read(tmp_path: Path) -> None:
    lines = [
        b"file_name,text",
        b"a.png,one",
        b"b.png",
        b"c.png,x,y",
        b"d.png,\xff",
        b",nameless",
        b"a.png,again",
        b"e.png,last",
    ]
    read = table(tmp_path, "t.csv", b"\n".join(lines))
    assert values(read) == {"a.png": {"text": "one"}, "e.png": {"text": "last"}}
    bad = Reason.BAD_ROW
    assert rejects(read)[:-1] == [(f"t.csv:{number}", bad) for number in range(3, 7)]
    assert rejects(read)[-1] == ("t.csv:7", Reason.DUPLICATE_ROW)
    assert "the row at 2 is used" in read.rejects[-1].detail


def test_a_quote_that_never_ends_is_a_reject(tmp_path: Path) -> None:
    read = table(tmp_path, "t.csv", 'file_name,text\na.png,one\nb.png,"two\nc.png,three\n')
    assert list(read.rows) == ["a.png"] and rejects(read) == [("t.csv:3", Reason.BAD_ROW)]


def test_bad_json_lines_are_rejects_and_the_rest_is_read(tmp_path: Path) -> None:
    lines = [
        b'{"file_name": "a.png"}',
        b'{"file_name": "b.png"',
        b"[1, 2]",
        b'{"file_name": "c.png", "x": NaN}',
        b'{"file_name": "d.png", "x": "\xff"}',
        b'{"file_name": "e.png", "x": "\\ud800"}',
        b'{"file_name": null}',
        b'{"text": "nameless"}',
        b'{"file_name": "f.png", "x": 1e999}',
        b'{"file_name": "g.png", "x": ' + b"[" * 100_000 + b"}",
        b'{"file_name": "z.png"}',
    ]
    read = table(tmp_path, "t.jsonl", b"\n".join(lines))
    assert list(read.rows) == ["a.png", "z.png"]
    assert rejects(read) == [(f"t.jsonl:{number}", Reason.BAD_ROW) for number in range(2, 11)]
    assert all(reject.detail and "\n" not in reject.detail and len(reject.detail) <= 200 for reject in read.rejects)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.xlsx", "x", "not a metadata table"),
        ("t.csv", "", "empty"),
        ("t.csv", "a,b\n1,2\n", "no column 'file_name'.*a, b.*--join-on"),
        ("t.csv", "file_name,a,a\n1,2,3\n", "'a' is there twice"),
        ("t.csv", b"file_name,\xff\n1,2\n", "line 1"),
        ("t.jsonl", '{"a": 1}\n{"b": 1}\n', "no column 'file_name'.*a, b"),
        ("t.json", "{", "not JSON"),
        ("t.json", "3", "neither an array"),
        ("t.parquet", "not parquet", "not Parquet"),
    ],
)
def test_a_table_that_cannot_be_used_at_all_is_an_error(
    tmp_path: Path, name: str, content: str | bytes, says: str
) -> None:
    with pytest.raises(BadTable, match=says) as caught:
        table(tmp_path, name, content)
    assert str(caught.value).startswith(str(tmp_path / name)) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "source_url", "license_"),
    [
        ({"source_url": "anything", "License": "CC0"}, "anything", "CC0"),
        ({"url": "https://a.org/1", "licence": " CC BY "}, "https://a.org/1", "CC BY"),
        ({"source": "danbooru", "image-url": "HTTP://a.org"}, "HTTP://a.org", None),
        ({"source": "danbooru", "rights": ""}, None, None),
        ({"source_url": "", "url": "http://b.org", "license": None, "license_name": "MIT"}, "http://b.org", "MIT"),
    ],
)
def test_source_and_licence_are_found_by_the_usual_names(
    tmp_path: Path, columns: dict[str, object], source_url: str | None, license_: str | None
) -> None:
    row = table(tmp_path, "t.json", json.dumps([{"file_name": "a.png"} | columns])).rows["a.png"]
    assert (row.source_url, row.license) == (source_url, license_)


def test_a_row_that_is_not_utf8_says_so(tmp_path: Path) -> None:
    read = table(tmp_path, "t.csv", b"file_name,text\nfox.png,caf\xe9\nowl.png,owl\n")
    assert list(read.rows) == ["owl.png"]
    assert [reject.detail for reject in read.rejects] == ["not UTF-8; save the table as UTF-8"]
