"""The runner with a machine: what is kept, what is redone, what a failure leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curator.caption import CaptionResult, caption
from curator.catalog import Catalog
from curator.machines import CannotCaption, MachineFailed, Written
from tests.curator.fill import add_images, sha
from tests.curator.machines.fake import Robot, install


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.create(tmp_path / "lab.duckdb") as opened:
        add_images(opened, "zoo", [{"name": f"animal {number}"} for number in range(6)])
        yield opened


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


def test_where_there_is_nothing_to_do_no_model_is_loaded(catalog: Catalog, robot: Robot) -> None:
    run(catalog)
    result = run(catalog)
    assert (result.unchanged, result.new, robot.loaded) == (6, 0, 1)


def test_a_failed_image_is_tried_again_and_the_others_are_not(catalog: Catalog, robot: Robot) -> None:
    robot.unreadable["0001.png"] = [CannotCaption("half a picture"), None]  # type: ignore[list-item]
    robot.answers["0004.png"] = [Written(None, "refused"), "an owl"]
    robot.answers["0005.png"] = ["", "a fox"]
    result = run(catalog)
    assert result.failed == {"half a picture": 1, "refused": 1, "the model wrote nothing": 1}
    assert (result.new, texts(catalog)[1]) == (3, None)
    robot.written.clear()
    result = run(catalog)
    assert (result.new, result.unchanged, result.failed) == (3, 3, {})
    assert robot.written == [["0001.png", "0004.png"], ["0005.png"]]


def test_what_it_took_is_summed(catalog: Catalog, robot: Robot) -> None:
    robot.answers["0000.png"] = [Written("a fox", None, 100, 7, 0.25)]
    robot.answers["0001.png"] = [Written(None, "refused", 50, 0, 0.5)]
    effort = run(catalog).effort
    assert effort is not None
    assert (effort.input_tokens, effort.output_tokens, effort.cost_usd, effort.batch_size) == (150, 7, 0.75, 2)
    assert effort.seconds > 0


def test_a_machine_that_fails_keeps_the_finished_batches(catalog: Catalog, robot: Robot) -> None:
    robot.answers["0003.png"] = [RuntimeError("CUDA error: launch failure"), "a fox"]
    with pytest.raises(MachineFailed, match=r"^robot: RuntimeError: CUDA error: launch failure"):
        run(catalog)
    assert texts(catalog)[:3] == ["a 0000.png", "a 0001.png", None]
    assert (run(catalog).new, robot.closed) == (4, 2)


def test_another_prompt_redoes_all_and_another_pace_nothing(catalog: Catalog, robot: Robot) -> None:
    run(catalog)
    assert run(catalog, {"batch_size": 3}).unchanged == 6
    assert robot.loaded == 1
    robot.answers["0000.png"] = ["a red fox"]
    result = run(catalog, {"prompt": "Name the animal."})
    assert (result.changed, result.unchanged) == (1, 5)
