"""The runner with a model: what is kept, what is redone, what a failure leaves behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curator.caption import CaptionResult, caption
from curator.captioners import Model
from curator.captioners.model import CannotCaption, Item, MachineFailed, Output
from curator.catalog import Catalog
from curator.catalog.errors import CatalogFailed
from schemas.errors import AmatlError, NotFound
from tests.curator.captioners.model.fake import Robot, install
from tests.curator.fill import add_images, sha
from tests.curator.lab import new_catalog


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with new_catalog(tmp_path / "lab.duckdb", fill) as opened:
        yield opened


def fill(catalog: Catalog) -> None:
    add_images(catalog, "zoo", [{"name": f"animal {number}"} for number in range(6)])


@pytest.fixture
def robot(monkeypatch: pytest.MonkeyPatch) -> Robot:
    made = Robot()
    install(monkeypatch, made)
    return made


def run(catalog: Catalog, options: dict[str, Any] | None = None, **more: Any) -> CaptionResult:
    return caption(catalog, "zoo", "robot", "seen", options or {}, **more)


def texts(catalog: Catalog) -> list[str | None]:
    """The captions of images 0, 1, ... in order."""
    found = dict(catalog.caption_texts("zoo", "seen").select("image_sha256", "text").iter_rows())
    return [found.get(sha(number)) for number in range(6)]


def test_captions_are_kept_with_the_model_that_wrote_them(catalog: Catalog, robot: Robot) -> None:
    result = run(catalog)
    assert (result.new, result.failed) == (6, {})
    assert texts(catalog) == [f"a {number:04}.png" for number in range(6)]
    (revision,) = catalog.image_history(sha(3)).rows(named=True)
    assert (revision["strategy"], revision["model"], revision["model_revision"]) == ("robot", "acme/robot", "r1")
    assert (robot.loaded, robot.closed) == (1, 1)


def test_half_a_surrogate_pair_of_a_servers_json_becomes_a_replacement_character(
    catalog: Catalog, robot: Robot
) -> None:
    robot.answers["0001.png"] = ["a \ud83d fox"]
    robot.answers["0002.png"] = [Output(None, "said \ude00")]
    result = run(catalog)
    assert texts(catalog)[1] == "a \ufffd fox"
    assert result.failed == {"said \ufffd": 1}


@pytest.mark.parametrize("odd", [Output(5), "a fox"])  # type: ignore[arg-type]
def test_a_machine_that_writes_no_captions_is_one_line(
    catalog: Catalog, robot: Robot, monkeypatch: pytest.MonkeyPatch, odd: Any
) -> None:
    monkeypatch.setattr(robot, "generate", lambda items, prepared: [odd] * len(items))
    with pytest.raises(MachineFailed, match=r"^robot: The model returned .*instead of a caption. 0 of 6 captions"):
        run(catalog)


def test_a_machine_that_cant_be_closed_costs_no_caption(
    catalog: Catalog, robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def close() -> None:
        raise RuntimeError("still busy")

    monkeypatch.setattr(robot, "close", close)
    result = run(catalog)
    assert (result.new, result.warnings) == (6, ["robot: the model couldn't be closed. RuntimeError: still busy."])


def test_where_there_is_nothing_to_do_no_model_is_loaded(catalog: Catalog, robot: Robot) -> None:
    run(catalog)
    result = run(catalog)
    assert (result.unchanged, result.new, robot.loaded) == (6, 0, 1)


def test_a_failed_image_is_tried_again_and_the_others_are_not(catalog: Catalog, robot: Robot) -> None:
    robot.unreadable["0001.png"] = [CannotCaption("half a picture"), None]  # type: ignore[list-item]
    robot.answers["0004.png"] = [Output(None, "refused"), "an owl"]
    robot.answers["0005.png"] = ["", "a fox"]
    result = run(catalog)
    assert result.failed == {"half a picture": 1, "refused": 1, "the model wrote nothing": 1}
    assert (result.new, texts(catalog)[1]) == (3, None)
    robot.written.clear()
    result = run(catalog)
    assert (result.new, result.unchanged, result.failed) == (3, 3, {})
    assert robot.written == [["0001.png", "0004.png"], ["0005.png"]]


def test_the_model_is_not_even_shown_what_a_person_captioned(catalog: Catalog, robot: Robot, tmp_path: Path) -> None:
    human = tmp_path / "human.csv"
    human.write_text("file_name,caption\n0003.png,my own\n", encoding="utf-8")
    caption(catalog, "zoo", "column", "seen", {"file": str(human), "column": "caption"}, by="ana")
    result = run(catalog, only="all")
    assert (result.new, result.kept_by_person, texts(catalog)[3]) == (5, 1, "my own")
    assert "0003.png" not in robot.prepared


def test_what_it_took_is_summed(catalog: Catalog, robot: Robot) -> None:
    robot.answers["0000.png"] = [Output("a fox", None, 100, 7, 0.25)]
    robot.answers["0001.png"] = [Output(None, "refused", 50, 0, 0.5)]
    effort = run(catalog).effort
    assert effort is not None
    assert (effort.input_tokens, effort.output_tokens, effort.cost_usd, effort.batch_size) == (150, 7, 0.75, 2)
    assert effort.seconds > 0


def test_a_machine_that_fails_keeps_the_finished_batches(catalog: Catalog, robot: Robot) -> None:
    robot.answers["0003.png"] = [RuntimeError("CUDA error: launch failure"), "a fox"]
    with pytest.raises(
        MachineFailed, match=r"^robot: RuntimeError: CUDA error: launch failure. 2 of 6 captions are stored;"
    ):
        run(catalog)
    assert texts(catalog)[:3] == ["a 0000.png", "a 0001.png", None]
    assert (run(catalog).new, robot.closed) == (4, 2)


def test_a_changed_option_is_told_before_anything_is_redone(catalog: Catalog, robot: Robot) -> None:
    said: list[str] = []
    run(catalog, {"prompt": "Hm?"})
    add_images(catalog, "zoo", [{}], first=6)
    robot.answers["0000.png"] = [RuntimeError("dead")]
    with pytest.raises(MachineFailed):
        run(catalog, {"prompt": "Name the animal."}, notice=said.append)
    assert said == ["6 images were captioned with other options (prompt=Hm?): captioned again now."]
    result = run(catalog, {"prompt": "Name the animal."}, only="missing", notice=said.append)
    assert said[1:] == ["6 images were captioned with other options (prompt=Hm?): left as they are (--only missing)."]
    assert (result.outdated, result.new) == (6, 1)


def test_other_strategies_versions_and_models_are_named(
    catalog: Catalog, robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    caption(catalog, "zoo", "fixed", "seen", {"text": "x"})
    assert run(catalog).made_otherwise == {"another strategy (fixed)": 6}
    install(monkeypatch, robot, VERSION=2)
    assert run(catalog).made_otherwise == {"another version of the strategy (1, now 2)": 6}
    install(monkeypatch, robot, VERSION=2, model=lambda options: Model(name="acme/robot", revision="r2"))
    assert run(catalog).made_otherwise == {"another model (acme/robot at r1)": 6}
    install(monkeypatch, robot, VERSION=2, fields=lambda options, available: ["name"])
    assert run(catalog).made_otherwise == {"another model (acme/robot at r2)": 6}
    assert run(catalog).made_otherwise == {}
    add_images(catalog, "zoo", [{"name": "fox"}])
    assert run(catalog).made_otherwise == {"other inputs": 1}


def test_a_model_is_given_the_fields_it_asks_for(
    catalog: Catalog, robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def preprocess(self: Robot, item: Item) -> str:
        seen[item.image_sha256] = (item.path, dict(item.fields))
        return Path(item.path).name

    add_images(catalog, "zoo", [{"name": "fox", "tags": ["red", "quick"]}])
    caption(catalog, "zoo", "fixed", "other", {"text": "x"}, where="name = 'fox'")
    monkeypatch.setattr(Robot, "preprocess", preprocess)
    names = ["name", "tags", "width_px", "caption.other"]
    install(monkeypatch, robot, fields=lambda options, available: names)
    run(catalog)
    fox = {"name": "fox", "tags": ["red", "quick"], "width_px": "64", "caption.other": "x"}
    assert seen[sha(0)] == ("/images/0000.png", fox)
    assert seen[sha(1)][1] == {"name": "animal 1", "tags": None, "width_px": "64", "caption.other": None}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("No module named 'torch'"), r"robot: No module named 'torch'\. .*pip install 'amatl\["),
        (
            OSError("acme/robot is not a local folder\nand more"),
            "robot: the model can't be loaded. OSError: acme/robot",
        ),
        (NotFound("There is no folder models/robot."), "^There is no folder models/robot.$"),
    ],
)
def test_a_model_that_cant_be_loaded_is_one_line(
    catalog: Catalog, robot: Robot, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def broken(options: object) -> Robot:
        raise error

    install(monkeypatch, robot, load_model=broken)
    with pytest.raises(AmatlError, match=message) as raised:
        run(catalog)
    assert "\n" not in str(raised.value)


def test_each_image_is_counted_once(catalog: Catalog, robot: Robot) -> None:
    add_images(catalog, "zoo", [{}] * 4, first=6)
    run(catalog, {"prompt": "Hm?"}, where="file_name < '0004.png'")
    robot.answers["0005.png"] = [Output(None, "refused")]
    for more in ({"only": "missing"}, {"limit": 3}, {"where": "name is not null"}, {"only": "all"}, {}):
        result = run(catalog, **more)
        counts = [result.new, result.changed, result.unchanged, result.kept_by_person, result.outdated]
        counts += [result.not_reached, result.not_chosen, sum(result.failed.values())]
        assert sum(counts) + sum(result.without_caption.values()) == result.images == 10


def test_a_limit_leaves_the_rest_for_the_next_run(catalog: Catalog, robot: Robot) -> None:
    result = run(catalog, limit=4)
    assert (result.new, result.not_reached) == (4, 2)
    result = run(catalog, limit=4)
    assert (result.new, result.unchanged, result.not_reached) == (2, 4, 0)


def test_failures_stand_in_the_catalog_until_they_are_put_right(catalog: Catalog, robot: Robot) -> None:
    def standing() -> list[tuple[str, str]]:
        return catalog.standing_failures("zoo").select("file_name", "reason").rows()

    robot.answers["0001.png"] = [Output(None, "refused"), Output(None, "refused"), Output(None, "timed out"), "owl"]
    robot.answers["0004.png"] = [Output(None, "refused")]
    run(catalog)
    assert standing() == [("0001.png", "refused"), ("0004.png", "refused")]
    assert catalog.standing_failures("zoo", "other").is_empty()
    first = catalog.standing_failures("zoo")["failed_at"].to_list()
    run(catalog)
    assert catalog.standing_failures("zoo")["failed_at"].to_list() == first  # no row for the same again
    run(catalog)
    assert standing() == [("0004.png", "refused"), ("0001.png", "timed out")]
    run(catalog)
    assert standing() == [("0004.png", "refused")]
    caption(catalog, "zoo", "fixed", "seen", {"text": "by hand"}, where="file_name = '0004.png'")
    assert standing() == []


def test_a_failure_of_an_image_that_is_gone_stands_no_more(catalog: Catalog, robot: Robot) -> None:
    robot.answers = {f"{number:04}.png": [Output(None, "refused")] for number in range(6)}
    run(catalog)
    cursor = catalog._connection.cursor()
    cursor.execute("INSERT INTO files SELECT * REPLACE (file_id + 100 AS file_id, true AS gone) FROM files LIMIT 2")
    cursor.close()
    assert catalog.standing_failures("zoo", "seen")["file_name"].to_list() == [f"{n:04}.png" for n in range(2, 6)]


def test_where_a_batch_cant_be_kept_the_model_is_closed_and_its_threads_end(
    catalog: Catalog, robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise CatalogFailed("no space")

    monkeypatch.setattr(catalog, "add_captions", full)
    with pytest.raises(CatalogFailed) as raised:
        run(catalog)
    assert robot.closed == 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("preprocess")]
    assert raised.traceback  # and held: nothing was left to the collector


def test_another_prompt_redoes_all_and_another_batch_size_nothing(catalog: Catalog, robot: Robot) -> None:
    run(catalog)
    assert run(catalog, {"batch_size": 3}).unchanged == 6
    assert robot.loaded == 1
    robot.answers["0000.png"] = ["a red fox"]
    result = run(catalog, {"prompt": "Name the animal."})
    assert (result.changed, result.unchanged) == (1, 5)
