"""Metadata of images: sidecars, tables, columns."""

from __future__ import annotations

import json

import pytest

from tests.curator.images.pictures import put
from tests.curator.ingest.conftest import Lab
from tests.curator.ingest.test_ingest import later, openings_below


def test_sidecars_are_kept_read_again_when_changed_and_dropped_when_gone(lab: Lab) -> None:
    put(lab.pictures / "a.png", 1)
    text = lab.pictures / "a.txt"
    text.write_text("\ufeff  a red fox\n")
    lab.ingest()
    assert lab.metadata() == {"a.png": {"sidecar": "a red fox"}}
    text.write_text("a brown bear")
    later(text)
    assert (lab.ingest().corrected, lab.metadata()) == (1, {"a.png": {"sidecar": "a brown bear"}})
    text.write_bytes(b"\xff\xfe broken")
    later(text)
    lab.ingest()
    assert (lab.metadata(), lab.rejects()) == ({"a.png": {}}, {"a.txt": "bad-row"})
    assert lab.ingest().rejects == 1
    text.unlink()
    lab.ingest()
    assert (lab.metadata(), lab.rejects()) == ({"a.png": {}}, {})


def test_metadata_comes_from_folder_table_then_given_table_then_sidecar(lab: Lab) -> None:
    put(lab.pictures / "deep" / "er" / "a.png", 1)
    (lab.pictures / "metadata.jsonl").write_text('{"file_name": "deep/er/a.png", "from": "top"}')
    (lab.pictures / "deep" / "metadata.csv").write_text("file_name,from,url,x\ner/a.png,near,https://a.org,1\n")
    (lab.pictures / "deep" / "er" / "a.txt").write_text("said")
    table = lab.pictures.parent / "given.json"
    table.write_text('{"a": {"from": "given", "license": "CC0"}}')
    lab.ingest(metadata=table, join_on="key")
    expected = {"from": "given", "url": "https://a.org", "x": "1", "key": "a", "license": "CC0", "sidecar": "said"}
    assert lab.metadata() == {"deep/er/a.png": expected}
    row = lab.images().to_dicts()[0]
    assert (row["source_url"], row["license"]) == ("https://a.org", "CC0")
    assert lab.rejects() == {"metadata.jsonl:1": "row-without-image"}, "the nearest table is the one that counts"


@pytest.mark.parametrize(
    "key", ["sub/Café.png", "sub/Café", "Café.png", "Café", "sub\\Cafe\u0301.png", "./sub/Café.png"]
)
def test_the_ways_a_row_may_name_a_picture(lab: Lab, key: str) -> None:
    put(lab.pictures / "sub" / "Café.png", 1)
    table = lab.pictures.parent / "t.json"
    table.write_text(json.dumps([{"id": key, "t": "x"}]))
    result = lab.ingest(metadata=table, join_on="id")
    assert (lab.metadata()["sub/Café.png"]["t"], result.rejects) == ("x", 0)


def test_one_row_may_describe_several_pictures_and_the_most_exact_row_wins(lab: Lab) -> None:
    for seed, name in enumerate(("72/fox.png", "618/fox.png", "618/owl.png")):
        put(lab.pictures / name, seed)
    table = lab.pictures.parent / "t.csv"
    table.write_text("id,t\nfox,any fox\n618/fox.png,this fox\nowl,owl\n")
    result = lab.ingest(metadata=table, join_on="id")
    assert {name: row["t"] for name, row in lab.metadata().items()} == {
        "72/fox.png": "any fox",
        "618/fox.png": "this fox",
        "618/owl.png": "owl",
    }
    assert result.rejects == 0


def test_a_corrected_table_is_picked_up_without_reading_a_picture(lab: Lab) -> None:
    put(lab.pictures / "a.png", 1)
    put(lab.pictures / "b.png", 2)
    table = lab.pictures.parent / "t.csv"
    table.write_text("file_name,t\na.png,rde fox\nb.png,owl\n")
    lab.ingest(metadata=table)
    table.write_text("file_name,t\na.png,red fox\nb.png,owl\n")
    later(table)
    with openings_below(lab.pictures) as files:
        result = lab.ingest(metadata=table)
    assert (files, result.corrected, result.unchanged, result.read) == ([], 1, 1, 0)
    assert lab.metadata()["a.png"] == {"t": "red fox"}
    table.write_text("file_name,t\na.png,red fox\n")
    later(table)
    assert lab.ingest(metadata=table).corrected == 1
    assert (lab.metadata()["b.png"], lab.rejects()) == ({}, {"b.png": "image-without-row"})


def test_metadata_lost_because_the_table_was_left_out_is_said(lab: Lab) -> None:
    put(lab.pictures / "a.png", 1)
    table = lab.pictures.parent / "t.csv"
    table.write_text("file_name,name\na.png,fox\n")
    lab.ingest(metadata=table)
    result = lab.ingest()
    assert result.corrected == 1
    assert any(
        note.endswith(f"1 path has lost what it said. To have it back: --metadata {table}") for note in result.notes
    )
    assert lab.ingest().notes == []


def test_a_table_that_matches_nothing_asks_about_the_column(lab: Lab) -> None:
    put(lab.pictures / "a.png", 1)
    table = lab.pictures.parent / "t.csv"
    table.write_text("file_name,name\n1,a\n")
    assert any("Is file_name the right column?" in note for note in lab.ingest(metadata=table).notes)
