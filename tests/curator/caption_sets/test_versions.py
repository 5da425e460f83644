"""Names of versions, committing, listing, restoring."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.caption import caption
from curator.caption_sets.reference import committed, resolve
from curator.caption_sets.versions import captions_digest, commit, restore, versions
from curator.catalog import Catalog
from schemas.digest import sha256_json
from schemas.errors import BadOption, NotFound
from tests.curator.fill import add_images, sha
from tests.curator.lab import new_catalog


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with new_catalog(tmp_path / "lab.duckdb", three_images) as opened:
        yield opened


def three_images(catalog: Catalog) -> None:
    add_images(catalog, "zoo", [{"name": "fox"}, {"name": "owl"}, {}])


def two_sets(catalog: Catalog) -> None:
    """`t@1` and `u`, which has no version."""
    three_images(catalog)
    fixed(catalog, "x")
    fixed(catalog, "x", set_name="u")
    commit(catalog, "t", "first")


def fixed(catalog: Catalog, text: str, dataset: str = "zoo", set_name: str = "t") -> None:
    caption(catalog, dataset, "fixed", set_name, {"text": text})


def template(catalog: Catalog, text: str) -> None:
    caption(catalog, "zoo", "template", "t", {"template": text})


def texts(catalog: Catalog) -> list[str]:
    return sorted(catalog.caption_texts("zoo", "t")["text"].to_list())


def frame(captions: list[tuple[str, str]]) -> pl.DataFrame:
    return pl.DataFrame(captions, schema={"image_sha256": pl.String, "text": pl.String}, orient="row")


sorted_captions = st.dictionaries(
    st.integers(0, 99), st.text(st.characters(exclude_categories=("Cs",)), max_size=20), max_size=5
).map(lambda found: sorted((sha(number), text) for number, text in found.items()))


@settings(max_examples=60, deadline=None)
@given(sorted_captions)
def test_the_digest_is_that_of_canonical_json(captions: list[tuple[str, str]]) -> None:
    assert captions_digest(frame(captions)) == sha256_json([list(row) for row in captions])


def test_the_digest_of_many_rows_is_that_of_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    captions = sorted((sha(number), f'a {number}\n\x7f\u2028"\\') for number in range(10))
    whole = captions_digest(frame(captions))
    monkeypatch.setattr("curator.caption_sets.versions.ROWS_A_PIECE", 3)
    assert captions_digest(frame(captions)) == whole == sha256_json([list(row) for row in captions])


def test_a_commit_makes_the_next_version_and_nothing_new_makes_none(catalog: Catalog) -> None:
    template(catalog, "a ${name}")
    first = commit(catalog, "zoo/t", "first", "ana")
    assert (first.version, first.captions, first.unchanged, first.added) == ("zoo/t@1", 2, False, 2)
    assert first.digest == captions_digest(frame(sorted([(sha(0), "a fox"), (sha(1), "a owl")])))
    again = commit(catalog, "t", "again")
    assert (again.version, again.unchanged, again.message) == ("zoo/t@1", True, "first")
    template(catalog, "a ${name|lower}")  # new rows, the same captions
    assert commit(catalog, "t", "again").unchanged
    template(catalog, "the ${name}")
    second = commit(catalog, "t", "second")
    assert (second.version, second.changed, second.added, second.removed) == ("zoo/t@2", 2, 0, 0)


def test_a_version_never_changes(catalog: Catalog) -> None:
    template(catalog, "a ${name}")
    commit(catalog, "t", "first")
    template(catalog, "the ${name}")
    first = resolve(catalog, "t@1")
    then = catalog.caption_texts("zoo", "t", first.last_caption_id)
    assert then["text"].to_list() == (["a fox", "a owl"] if sha(0) < sha(1) else ["a owl", "a fox"])


def test_the_same_captions_have_the_same_digest_in_another_catalog(catalog: Catalog, tmp_path: Path) -> None:
    template(catalog, "a ${name}")
    first = commit(catalog, "t", "here")
    with new_catalog(tmp_path / "other.duckdb") as other:
        add_images(other, "farm", [{"n": "owl"}], first=1)
        add_images(other, "farm", [{"n": "fox"}], first=0)
        caption(other, "farm", "template", "x", {"template": "a ${n}"})
        assert commit(other, "x", "there").digest == first.digest


def test_a_commit_needs_a_set_not_a_version(catalog: Catalog) -> None:
    template(catalog, "a ${name}")
    commit(catalog, "t", "first")
    with pytest.raises(BadOption, match="describe this version"):
        commit(catalog, "t", "  ")
    with pytest.raises(BadOption, match="name the set alone: zoo/t"):
        commit(catalog, "t@1", "again")
    with pytest.raises(NotFound, match="There are: zoo/t"):
        commit(catalog, "nope", "x")


def test_versions_are_listed_with_what_is_uncommitted(catalog: Catalog) -> None:
    assert versions(catalog).sets == []
    template(catalog, "a ${name}")
    (found,) = versions(catalog).sets
    assert (found.captions, found.uncommitted, found.versions) == (2, 2, [])
    commit(catalog, "t", "first", "ana")
    add_images(catalog, "zoo", [{"name": "red fox"}])
    template(catalog, "a ${name}")
    fixed(catalog, "x", set_name="other")
    (found,) = versions(catalog, "zoo/t").sets
    assert (found.captions, found.uncommitted) == (2, 1)
    assert [(v.number, v.message, v.person, v.captions) for v in found.versions] == [(1, "first", "ana", 2)]
    assert found.versions[0].committed_at.endswith("Z")
    assert [found.set_name for found in versions(catalog).sets] == ["other", "t"]


def test_a_restore_appends_revisions_and_keeps_what_made_them(catalog: Catalog) -> None:
    template(catalog, "a ${name}")
    commit(catalog, "t", "first")
    fixed(catalog, "x")
    commit(catalog, "t", "second")
    result = restore(catalog, "t@1", "bob")
    assert (result.added, result.changed, result.removed, result.uncommitted) == (0, 2, 1, 0)
    assert texts(catalog) == ["a fox", "a owl"]
    assert commit(catalog, "t", "back").version == "zoo/t@3"
    assert commit(catalog, "t", "back").digest == versions(catalog).sets[0].versions[0].digest
    history = catalog.image_history(sha(0)).rows(named=True)
    assert [row["text"] for row in history] == ["a fox", "x", "a fox"]
    last = history[-1]
    assert (last["strategy"], last["restored_from"], last["restored_by"]) == ("template", "zoo/t@1", "bob")
    assert last["parent_id"] == history[0]["caption_id"]
    assert last["inputs_digest"] == history[0]["inputs_digest"]
    assert catalog.image_history(sha(2))["text"].to_list() == ["x", None]


def test_restored_captions_are_not_redone_by_what_made_them(catalog: Catalog) -> None:
    template(catalog, "a ${name}")
    commit(catalog, "t", "first")
    template(catalog, "the ${name}")
    restore(catalog, "t@1")
    assert caption(catalog, "zoo", "template", "t", {"template": "a ${name}"}).unchanged == 2


def test_a_restored_persons_caption_stays_a_persons(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "h.csv").write_text("file_name,caption\n0000.png,my fox\n", encoding="utf-8")
    options = {"file": str(tmp_path / "h.csv"), "column": "caption"}
    template(catalog, "a ${name}")
    commit(catalog, "t", "machine")
    caption(catalog, "zoo", "column", "t", options, by="ana")
    commit(catalog, "t", "human")
    restore(catalog, "t@1")
    assert texts(catalog) == ["a fox", "a owl"]
    restore(catalog, "t@2", "bob")
    assert texts(catalog) == ["a owl", "my fox"]
    assert caption(catalog, "zoo", "fixed", "t", {"text": "x"}).kept_by_person == 1
    assert catalog.image_history(sha(0))["person"].to_list()[-1] == "ana"


def test_a_restore_counts_what_was_uncommitted_and_of_the_same_does_nothing(catalog: Catalog) -> None:
    template(catalog, "a ${name}")
    commit(catalog, "t", "first")
    assert restore(catalog, "t@1").changed == 0
    assert catalog.image_history(sha(0)).height == 1
    template(catalog, "the ${name}")
    assert restore(catalog, "t@1").uncommitted == 2
    with pytest.raises(BadOption, match="for example zoo/t@1"):
        restore(catalog, "t")


@pytest.mark.parametrize("text", ["t@1", "zoo/t@1"])
def test_a_version_by_its_short_and_its_long_name(catalog: Catalog, text: str) -> None:
    template(catalog, "a ${name}")
    commit(catalog, "t", "first")
    found = resolve(catalog, text)
    assert (str(found), found.number, found.last_caption_id) == ("zoo/t@1", 1, 2)
    assert str(resolve(catalog, "t")) == "zoo/t"


def test_a_short_name_that_several_datasets_have_lists_them(catalog: Catalog) -> None:
    add_images(catalog, "farm", [{}])
    fixed(catalog, "x")
    fixed(catalog, "x", dataset="farm")
    with pytest.raises(BadOption, match=r"farm/t@2, zoo/t@2"):
        resolve(catalog, "t@2")
    assert resolve(catalog, "farm/t").dataset == "farm"


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("t@2", NotFound, "zoo/t has no version @2. There are: @1."),
        ("u@1", NotFound, "no version yet. Make one with: curator commit zoo/u -m"),
        ("nope@1", NotFound, "There is no caption set 'nope'. There are: zoo/t, zoo/u."),
        ("farm/t", NotFound, "There is no caption set 'farm/t'"),
        ("T@1", BadOption, "not a caption set"),
        ("t@", BadOption, "not a caption set"),
        ("t@0", BadOption, "not a caption set"),
        ("t@1@2", BadOption, "not a caption set"),
        ("", BadOption, "not a caption set"),
    ],
)
def test_a_reference_that_names_nothing(tmp_path: Path, text: str, kind: type[Exception], message: str) -> None:
    with new_catalog(tmp_path / "lab.duckdb", two_sets) as catalog, pytest.raises(kind) as error:
        resolve(catalog, text)
    assert message in str(error.value)


def test_a_committed_version_is_the_one_named_or_the_latest(catalog: Catalog) -> None:
    add_images(catalog, "farm", [{"name": "cow"}])
    fixed(catalog, "a cow", "farm", "f")
    commit(catalog, "farm/f", "first")
    fixed(catalog, "a beast")
    with pytest.raises(BadOption, match=r"--set t: has no version yet. Make one with: curator commit zoo/t"):
        committed(catalog, "zoo", "t", "--set")
    commit(catalog, "zoo/t", "first")
    fixed(catalog, "a creature")
    commit(catalog, "zoo/t", "second")
    assert (
        str(committed(catalog, "zoo", "t", "--set")) == str(committed(catalog, "zoo", "zoo/t@2", "--set")) == "zoo/t@2"
    )
    assert str(committed(catalog, "zoo", "t@1", "--set")) == "zoo/t@1"
    with pytest.raises(BadOption, match="--sets farm/f: belongs to the dataset farm, not to zoo"):
        committed(catalog, "zoo", "farm/f", "--sets")
    with pytest.raises(NotFound, match="There is no dataset 'no'"):
        committed(catalog, "no", "t", "--set")
