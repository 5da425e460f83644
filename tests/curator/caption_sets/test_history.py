"""The history of an image, and finding the image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from curator.caption import caption
from curator.caption_sets.history import history
from curator.caption_sets.versions import commit, restore
from curator.catalog import Catalog
from curator.cli.text.history import text_of_history
from schemas.errors import BadOption, NotFound
from tests.curator.fill import add_images, sha
from tests.curator.lab import new_catalog


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with new_catalog(tmp_path / "lab.duckdb") as opened:
        add_images(opened, "zoo", [{"name": "fox"}, {"name": "owl"}], folder=str(tmp_path))
        yield opened


def test_every_caption_with_what_made_it_and_the_versions_it_is_in(catalog: Catalog, tmp_path: Path) -> None:
    caption(catalog, "zoo", "template", "t", {"template": "a ${name}"}, person="ana")
    commit(catalog, "t", "one")
    caption(catalog, "zoo", "empty", "e")
    commit(catalog, "e", "other set")
    caption(catalog, "zoo", "template", "t", {"template": "the ${name}"}, person="bob")
    commit(catalog, "t", "two")
    add_images(catalog, "zoo", [{"name": "big owl"}], folder=str(tmp_path), first=1)
    caption(catalog, "zoo", "template", "t", {"template": "the ${name}"})
    commit(catalog, "t", "three")
    restore(catalog, "t@1", "eve")
    result = history(catalog, "0000.png")
    assert result.image_sha256 == sha(0)
    assert [
        (found.set_name, found.text, found.versions, found.current, found.person) for found in result.revisions
    ] == [
        ("e", "", [1], True, result.revisions[0].person),
        ("t", "a fox", [1], False, "ana"),
        ("t", "the fox", [2, 3], False, "bob"),
        ("t", "a fox", [], True, "ana"),
    ]
    last = result.revisions[-1]
    assert last.options == {"template": "a ${name}"}
    assert (last.restored_from, last.restored_by) == ("zoo/t@1", "eve")


def test_an_image_without_captions_has_an_empty_history(catalog: Catalog) -> None:
    assert history(catalog, "0001.png").revisions == []


def test_an_image_is_found_by_sha256_prefix_file_name_and_path(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (sha(0), sha(0)[:6].upper(), "0000.png", str(tmp_path / "0000.png"), "./0000.png"):
        assert history(catalog, name).image_sha256 == sha(0)
    assert [found.file_name for found in history(catalog, sha(0)).files] == ["0000.png"]


def test_a_name_that_no_image_has(catalog: Catalog) -> None:
    for name in (sha(0)[:5], "nope.png", "%", ""):
        with pytest.raises(NotFound, match="No image"):
            history(catalog, name)


def test_a_name_that_several_images_have_lists_them(catalog: Catalog) -> None:
    add_images(catalog, "farm", [{}], first=7)
    catalog._connection.cursor().execute("UPDATE files SET file_name = 'a/0000.png' WHERE dataset = 'farm'")
    with pytest.raises(BadOption, match=r"2 images match; name one of .*\(farm: a/0000.png\)"):
        history(catalog, "0000.png")


def test_a_models_captions_tell_model_revision_and_how_it_was_asked(catalog: Catalog) -> None:
    caption(catalog, "zoo", "fixed", "b", {"text": "a fox in a wood"}, person="ana")
    asked = '{"prompt":"Describe the picture\\nin a sentence.","beams":3,"temperature":null,"stop":["a","b"]}'
    commit_id = "82a37760796d32b1411fe092ab5d4e227313294b"
    catalog._connection.cursor().execute(
        "UPDATE caption_runs SET strategy = 'vision', model = 'org/big-model', model_revision = ?, options = ?",
        [commit_id, asked],
    )
    (revision,) = history(catalog, "0000.png").revisions
    assert (revision.strategy, revision.model, revision.model_revision) == ("vision", "org/big-model", commit_id)
    assert revision.options == {
        "prompt": "Describe the picture\nin a sentence.",
        "beams": 3,
        "temperature": None,
        "stop": ["a", "b"],
    }
    lines = [line.split() for line in text_of_history(history(catalog, "0000.png"), 80).splitlines()]
    assert ["by", "vision", "v1,", "run", "by", "ana"] in lines
    assert ["model", "org/big-model", "at", "82a37760796d"] in lines
    assert ["in", "a", "sentence.", "beams=3", "stop=a,b"] in lines


def test_the_account_names_sources_restores_people_and_what_was_taken_out(catalog: Catalog) -> None:
    caption(catalog, "zoo", "column", "h", {"column": "name"}, by="eve")
    commit(catalog, "h", "one")
    caption(catalog, "zoo", "compose", "c", {"sets": ["h@1"], "trigger": "sks"})
    commit(catalog, "c", "one")
    caption(catalog, "zoo", "compose", "c", {"sets": ["h"], "suffix": " in oil"})
    restore(catalog, "c@1", "bob")
    catalog._connection.cursor().execute("UPDATE captions SET text = NULL WHERE text LIKE '%oil'")
    text = text_of_history(history(catalog, "0000.png"), 100)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "by eve, through column v2" in lines
    assert "of h@1: fox" in lines
    assert "of h: fox" in lines
    assert "restored from zoo/c@1 by bob" in lines
    assert any(line.endswith("(removed)") for line in lines)
    assert [line.split("Z ")[1] for line in lines if line.endswith("current")] == ["sks, fox current", "fox @1 current"]
    assert max(map(len, text.splitlines())) <= 100
