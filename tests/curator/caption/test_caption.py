"""The caption runner: what is redone and what isn't, whose captions stay, what is counted."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from curator import captioners
from curator.caption import CaptionResult, caption
from curator.captioners import BadCaptioner
from curator.catalog import Catalog
from schemas.errors import BadOption, NotFound
from tests.curator.fill import add_images, sha
from tests.curator.lab import new_catalog

ZOO: list[dict[str, Any]] = [
    {"name": "fox", "tags": ["red", "quick"], "text": "x"},
    {"name": "owl", "tags": ["wise"]},
    {"name": "", "age": 3},
    {},
]


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with new_catalog(tmp_path / "lab.duckdb", fill) as opened:
        yield opened


def fill(catalog: Catalog) -> None:
    add_images(catalog, "zoo", ZOO)


def template(catalog: Catalog, text: str, set_name: str = "t", **more: Any) -> CaptionResult:
    return caption(catalog, "zoo", "template", set_name, {"template": text}, **more)


def texts(catalog: Catalog, set_name: str = "t") -> dict[str, str]:
    """The current captions by file name."""
    names = {sha(number): f"{number:04}.png" for number in range(20)}
    rows = catalog.caption_texts("zoo", set_name).select("image_sha256", "text").iter_rows()
    return {names[image]: text for image, text in rows}


def revisions(catalog: Catalog, number: int = 0) -> int:
    return catalog.image_history(sha(number)).height


def test_new_captions_are_counted_with_the_reasons_of_those_without(catalog: Catalog) -> None:
    result = template(catalog, "a ${name}, ${tags}")
    assert (result.images, result.new, result.changed, result.unchanged) == (4, 2, 0, 0)
    assert result.without_caption == {"no value for name, tags": 2}
    assert texts(catalog) == {"0000.png": "a fox, red, quick", "0001.png": "a owl, wise"}
    assert [(example.file_name, example.text) for example in result.examples] == [
        ("0000.png", "a fox, red, quick"),
        ("0001.png", "a owl, wise"),
    ]


def test_again_nothing_is_redone(catalog: Catalog) -> None:
    template(catalog, "a ${name}")
    result = template(catalog, "a ${name}")
    assert (result.new, result.changed, result.unchanged) == (0, 0, 2)
    assert revisions(catalog) == 1
    assert len(result.examples) == 2


def test_corrected_metadata_recaptions_just_those_images(catalog: Catalog) -> None:
    template(catalog, "a ${name}")
    add_images(catalog, "zoo", [{"name": "red fox", "tags": ["red"]}])
    result = template(catalog, "a ${name}")
    assert (result.new, result.changed, result.unchanged) == (0, 1, 1)
    assert texts(catalog)["0000.png"] == "a red fox"
    assert (revisions(catalog, 0), revisions(catalog, 1)) == (2, 1)


def test_corrected_metadata_that_the_strategy_does_not_read_changes_nothing(catalog: Catalog) -> None:
    template(catalog, "a ${name}")
    add_images(catalog, "zoo", [{"name": "fox", "tags": ["other"], "new_field": 1}])
    assert template(catalog, "a ${name}").unchanged == 2
    assert revisions(catalog) == 1


def test_another_option_recaptions_all_and_equal_text_is_not_a_change(catalog: Catalog) -> None:
    template(catalog, "a ${name}")
    result = template(catalog, "a ${name|lower}")
    assert (result.changed, result.unchanged) == (0, 2)
    assert revisions(catalog) == 2  # the new provenance is kept
    assert template(catalog, "a ${name|lower}").unchanged == 2
    assert revisions(catalog) == 2


def test_a_higher_version_of_the_strategy_recaptions(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    from curator.captioners import template as module

    template(catalog, "a ${name}")
    monkeypatch.setattr(module, "VERSION", 2)
    template(catalog, "a ${name}")
    history = catalog.image_history(sha(0))
    assert history["strategy_version"].to_list() == [1, 2]


def test_a_caption_whose_metadata_went_is_taken_out_and_stays_in_the_history(catalog: Catalog) -> None:
    template(catalog, "a ${name}")
    add_images(catalog, "zoo", [{"name": ""}])
    result = template(catalog, "a ${name}")
    assert (result.taken_out, result.unchanged) == (1, 1)
    assert set(texts(catalog)) == {"0001.png"}
    assert catalog.image_history(sha(0))["text"].to_list() == ["a fox", None]
    again = template(catalog, "a ${name}")
    assert (again.taken_out, revisions(catalog)) == (0, 2)


def test_a_persons_caption_is_never_replaced_by_a_strategy(catalog: Catalog, tmp_path: Path) -> None:
    human = tmp_path / "human.csv"
    human.write_text("file_name,caption\n0001.png,an owl of my own\n", encoding="utf-8")
    template(catalog, "a ${name}")
    options = {"file": str(human), "column": "caption"}
    imported = caption(catalog, "zoo", "column", "t", options, by="ana")
    assert (imported.changed, imported.taken_out) == (1, 0)
    for only in ("changed", "all"):
        result = template(catalog, "the ${name|upper}", only=only)
        assert result.kept_by_person == 1
    assert texts(catalog) == {"0000.png": "the FOX", "0001.png": "an owl of my own"}


def test_an_import_without_by_is_a_strategys(catalog: Catalog, tmp_path: Path) -> None:
    human = tmp_path / "human.csv"
    human.write_text("file_name,caption\n0001.png,an owl\n", encoding="utf-8")
    caption(catalog, "zoo", "column", "t", {"file": str(human), "column": "caption"})
    assert template(catalog, "a ${name}").kept_by_person == 0
    assert texts(catalog)["0001.png"] == "a owl"


def test_a_person_refreshes_their_own_import_and_nobody_elses(catalog: Catalog, tmp_path: Path) -> None:
    human = tmp_path / "human.csv"
    options = {"file": str(human), "column": "caption"}
    human.write_text("file_name,caption\n0000.png,fox\n0001.png,owl\n", encoding="utf-8")
    caption(catalog, "zoo", "column", "human", options, by="ana")
    assert caption(catalog, "zoo", "column", "human", options, by="ana").unchanged == 2
    human.write_text("file_name,caption\n0000.png,red fox\n0001.png,owl\n", encoding="utf-8")
    result = caption(catalog, "zoo", "column", "human", options, by="ana")
    assert (result.changed, result.unchanged) == (1, 1)
    result = caption(catalog, "zoo", "column", "human", options, by="bob")
    assert result.kept_by_person == 2
    assert catalog.image_history(sha(0))["person"].to_list() == ["ana", "ana"]


def test_a_moved_file_is_the_same_import(catalog: Catalog, tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("file_name,caption\n0000.png,fox\n", encoding="utf-8")
        result = caption(
            catalog, "zoo", "column", "human", {"file": str(tmp_path / name), "column": "caption"}, by="ana"
        )
    assert (result.changed, result.unchanged, revisions(catalog)) == (0, 1, 1)


def test_a_row_that_cant_be_read_takes_no_caption_out(catalog: Catalog, tmp_path: Path) -> None:
    human = tmp_path / "human.csv"
    options = {"file": str(human), "column": "caption"}
    human.write_text("file_name,caption\n0000.png,fox\n", encoding="utf-8")
    caption(catalog, "zoo", "column", "human", options, by="ana")
    human.write_text("file_name,caption\n0000.png,fox, red\n", encoding="utf-8")
    result = caption(catalog, "zoo", "column", "human", options, by="ana")
    assert (result.taken_out, [reject.reason for reject in result.rejects]) == (0, ["bad-row"])
    assert catalog.caption_texts("zoo", "human")["text"].to_list() == ["fox"]
    human.write_text("file_name,caption\n0001.png,owl\n", encoding="utf-8")
    assert caption(catalog, "zoo", "column", "human", options, by="ana").taken_out == 1


def test_rows_without_an_image_are_shown_as_rejects(catalog: Catalog, tmp_path: Path) -> None:
    human = tmp_path / "human.csv"
    human.write_text("file_name,caption\n0000.png,fox\n0099.png,ghost\n", encoding="utf-8")
    result = caption(catalog, "zoo", "column", "human", {"file": str(human), "column": "caption"})
    assert [(reject.reason, reject.where) for reject in result.rejects] == [("row-without-image", f"{human}:3")]
    assert (result.new, result.without_caption) == (1, {"no caption in human.csv": 3})


def test_only_missing_leaves_outdated_captions_alone_and_counts_them(catalog: Catalog) -> None:
    template(catalog, "a ${name}")
    result = template(catalog, "the ${name}${age}", only="missing")
    assert (result.outdated, result.new, result.changed) == (2, 1, 0)
    assert texts(catalog) == {"0000.png": "a fox", "0001.png": "a owl", "0002.png": "the 3"}


def test_only_all_redoes_what_is_unchanged_without_adding_equal_rows(catalog: Catalog) -> None:
    template(catalog, "a ${name}")
    result = template(catalog, "a ${name}", only="all")
    assert (result.new, result.changed, result.unchanged, revisions(catalog)) == (0, 0, 2, 1)


def test_where_chooses_images_and_counts_the_others(catalog: Catalog) -> None:
    result = template(catalog, "a ${name}", where="name = 'fox'")
    assert (result.new, result.not_chosen) == (1, 3)
    result = template(catalog, "the ${name}", where="caption.t is null")
    assert (result.new, result.not_chosen) == (1, 1)
    assert texts(catalog) == {"0000.png": "a fox", "0001.png": "the owl"}


def test_metadata_called_as_our_own_columns_does_no_harm(catalog: Catalog) -> None:
    names = ["text", "reason", "failed", "digest", "old_text", "parent_id", "path", "metadata_values", "strategy"]
    add_images(catalog, "zoo", [dict.fromkeys(names, "v")], first=10)
    result = template(catalog, "".join(f"${{{name}}} " for name in names))
    assert texts(catalog)["0010.png"] == " ".join(["v"] * len(names))
    assert result.new == 2


def test_a_field_may_be_called_anything(catalog: Catalog) -> None:
    add_images(catalog, "zoo", [{"a/b": "slash", "til~de": "tilde", "a b.c": "dot", 'q"': "quote"}], first=10)
    template(catalog, '${a/b} ${til~de} ${a b.c} ${q"}')
    assert texts(catalog)["0010.png"] == "slash tilde dot quote"


def test_values_that_are_not_text_are_written_as_json_writes_them(catalog: Catalog) -> None:
    add_images(
        catalog,
        "zoo",
        [{"n": 3, "f": 1.5, "b": True, "none": None, "mixed": [1, "two", None]}, {"mixed": "one, two"}],
        first=10,
    )
    template(catalog, "${n} ${f} ${b} ${none} ${mixed|join '+'}")
    assert texts(catalog)["0010.png"] == "3 1.5 true 1+two"
    assert texts(catalog)["0011.png"] == "one+two"


def test_built_in_fields(catalog: Catalog) -> None:
    add_images(catalog, "zoo", [{}], folder="/images", first=10)
    template(catalog, "${file_stem} ${format} ${width_px}x${height_px} ${folder}")
    assert texts(catalog)["0010.png"] == "0010 png 64x48"


def test_a_caption_is_one_line(catalog: Catalog) -> None:
    add_images(catalog, "zoo", [{"story": " one \r\n two\n\nthree\u2028four "}], first=10)
    template(catalog, "${story}")
    assert texts(catalog) == {"0010.png": "one two three four"}


def test_provenance_is_recorded(catalog: Catalog) -> None:
    template(catalog, "a ${name}", person="ana")
    template(catalog, "the ${name}", person="bob")
    first, second = catalog.image_history(sha(0)).rows(named=True)
    assert (first["strategy"], first["strategy_version"], first["person"], first["by_person"]) == (
        "template",
        1,
        "ana",
        False,
    )
    assert first["options"] == '{"template": "a ${name}"}'
    assert (first["parent_id"], second["parent_id"]) == (None, first["caption_id"])
    assert first["captioned_at"].endswith("Z")
    assert first["inputs_digest"] != second["inputs_digest"]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (("farm", "empty", "e"), NotFound, "no dataset 'farm'. There are: zoo"),
        (("zoo", "nope", "e"), NotFound, "There is no strategy"),
        (("zoo", "empty", "My Set"), BadOption, "a-z, 0-9, _ and -"),
        (
            ("zoo", "template", "t", ["template=${nam}"]),
            BadOption,
            "'nam'. Available fields: name, tags, text, age",
        ),
        (("zoo", "column", "t", ["column=nam"]), BadOption, "'nam'. Available fields"),
        (("zoo", "tags", "t"), BadOption, "'tag_string_character'"),
    ],
)
def test_bad_input_says_what_there_is(
    catalog: Catalog, arguments: tuple[Any, ...], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as error:
        caption(catalog, *arguments)
    assert message in str(error.value)
    assert catalog.caption_sets().height == 0


def test_by_is_for_imports_only(catalog: Catalog) -> None:
    with pytest.raises(BadOption, match="aren't a person's"):
        caption(catalog, "zoo", "empty", "e", by="ana")


FLAKY = '''"""Fails once. `--strategy flaky`"""
import polars as pl
from curator.captioners import StrategyOptions, captions, Model
VERSION = 1
BATCH_SIZE = 1
BROKEN = {"names": {"owl"}, "interrupt": False, "revision": "r1"}
class Options(StrategyOptions): pass
def fields(options, available): return ["name"]
def model(options): return Model(name="m", revision=BROKEN["revision"])
def caption(batch, options):
    if BROKEN["interrupt"] and batch["name"][0] == "owl":
        raise KeyboardInterrupt
    bad = batch["name"].is_in(list(BROKEN["names"]))
    text = batch.select(pl.when(~bad).then("name")).to_series()
    return captions(text, reason="model error", failed=bad)
'''


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A strategy as a model would be: small batches, failures, a revision. Its switches."""
    module = ModuleType("flaky", "")
    exec(FLAKY, module.__dict__)
    monkeypatch.setitem(sys.modules, "flaky", module)
    point = importlib.metadata.EntryPoint("flaky", "flaky", captioners.ENTRY_POINTS)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point])
    switches: dict[str, Any] = module.BROKEN
    return switches


def test_a_failure_keeps_what_there_was_and_is_tried_again(catalog: Catalog, flaky: dict[str, Any]) -> None:
    caption(catalog, "zoo", "fixed", "t", {"text": "before"})
    result = caption(catalog, "zoo", "flaky", "t")
    assert result.failed == {"model error": 1}
    assert texts(catalog)["0001.png"] == "before"
    flaky["names"] = set()
    result = caption(catalog, "zoo", "flaky", "t")
    assert (result.changed, result.failed) == (1, {})
    assert texts(catalog)["0001.png"] == "owl"


def test_another_revision_of_the_model_recaptions(catalog: Catalog, flaky: dict[str, Any]) -> None:
    flaky["names"] = set()
    caption(catalog, "zoo", "flaky", "t")
    flaky["revision"] = "r2"
    caption(catalog, "zoo", "flaky", "t")
    assert catalog.image_history(sha(0))["model_revision"].to_list() == ["r1", "r2"]


def test_interrupted_it_keeps_finished_batches_and_goes_on_from_there(catalog: Catalog, flaky: dict[str, Any]) -> None:
    flaky.update(names=set(), interrupt=True)
    with pytest.raises(KeyboardInterrupt):
        caption(catalog, "zoo", "flaky", "t")
    assert texts(catalog) == {"0000.png": "fox"}
    flaky["interrupt"] = False
    result = caption(catalog, "zoo", "flaky", "t")
    assert (result.unchanged, result.new) == (1, 2)
    assert revisions(catalog, 0) == 1


def test_a_strategy_that_returns_too_few_rows_is_named(catalog: Catalog, flaky: dict[str, Any]) -> None:
    sys.modules["flaky"].caption = lambda batch, options: captioners.captions(batch["name"].clear())  # type: ignore[attr-defined]
    with pytest.raises(BadCaptioner, match="'flaky' returned 0 rows"):
        caption(catalog, "zoo", "flaky", "t")


def test_progress_counts_images(catalog: Catalog) -> None:
    seen: list[tuple[str, int, int | None]] = []
    template(catalog, "a ${name}", progress=lambda stage, done, total, detail="": seen.append((stage, done, total)))
    assert seen == [("captioning", 4, 4)]
