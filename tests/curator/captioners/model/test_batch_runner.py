"""The batch runner: order, overlap, bounded look-ahead, failures of one image, batches that don't fit, a clean end."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from curator.captioners.model import CannotCaption, Item, MachineFailed, Output
from curator.captioners.model.batch_runner import BatchRunner
from tests.curator.captioners.model.fake import Robot


def items(count: int) -> list[Item]:
    return [Item(f"{number:064x}", f"/images/{number:04}.png") for number in range(count)]


def texts(runner: BatchRunner, count: int) -> list[str | None]:
    return [output.text for batch in runner.run(items(count)) for output in batch.outputs]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 100])
def test_every_picture_is_written_once_in_order(count: int) -> None:
    robot = Robot(batch_size=8)
    batches = list(BatchRunner(robot, threads=4).run(items(count)))
    assert [item for batch in batches for item in batch.items] == items(count)
    assert [output.text for batch in batches for output in batch.outputs] == [f"a {n:04}.png" for n in range(count)]
    assert [len(batch.items) for batch in batches] == [8] * (count // 8) + [count % 8] * bool(count % 8)
    assert sorted(robot.prepared) == [f"{number:04}.png" for number in range(count)]


def test_the_two_stages_overlap() -> None:
    writing, next_is_prepared = threading.Event(), threading.Event()

    class Waiting(Robot):
        def preprocess(self, item: Item) -> str:
            if item == items(8)[4]:  # of the second batch: not before the first is being written
                assert writing.wait(20)
                next_is_prepared.set()
            return super().preprocess(item)

        def generate(self, items: Sequence[Item], prepared: Sequence[str]) -> list[Output]:
            writing.set()
            assert next_is_prepared.wait(20)  # and the first isn't done before the second is prepared
            return super().generate(items, prepared)

    assert len(texts(BatchRunner(Waiting(batch_size=4), threads=1), 8)) == 8


def test_no_more_than_two_batches_are_held() -> None:
    robot = Robot(batch_size=4, call_s=0.01)
    texts(BatchRunner(robot, threads=4), 80)
    assert robot.most_at_once <= 8


def test_inputs_are_freed_once_their_captions_are_written() -> None:
    alive: set[str] = set()

    class Pixels:
        def __init__(self, name: str) -> None:
            self.name = name
            alive.add(name)

        def __del__(self) -> None:
            alive.discard(self.name)

    class Heavy(Robot):
        def preprocess(self, item: Item) -> Any:
            return Pixels(item.image_sha256)

        def generate(self, items: Sequence[Item], prepared: Sequence[Any]) -> list[Output]:
            time.sleep(0.01)
            return [Output("a")] * len(items)

    for batch in BatchRunner(Heavy(batch_size=8), threads=2).run(items(80)):
        assert not alive & {item.image_sha256 for item in batch.items}
    assert not alive


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_each_picture_is_answered_once_in_order(seed: int) -> None:
    draw = random.Random(seed)
    count = draw.randrange(60)
    robot = Robot(batch_size=draw.choice([None, 1, 3, 8, 40]), largest=draw.choice([None, 1, 2, 5, 20]))
    bad = {number for number in range(count) if draw.random() < draw.choice([0.0, 0.1, 0.9])}
    robot.unreadable = {f"{number:04}.png": [CannotCaption("bad")] for number in bad}
    expected = [None if number in bad else f"a {number:04}.png" for number in range(count)]
    assert texts(BatchRunner(robot, threads=draw.choice([1, 2, 5])), count) == expected
    assert sorted(robot.prepared) == [f"{number:04}.png" for number in range(count) if number not in bad]


def test_items_are_read_as_they_are_needed() -> None:
    read: list[int] = []

    def endless() -> Iterator[Item]:
        for number in range(10**9):
            read.append(number)
            yield Item(str(number), f"{number}.png")

    run = BatchRunner(Robot(batch_size=4), threads=2).run(endless())
    next(run)
    run.close()
    assert len(read) <= 8


def test_a_picture_that_fails_is_a_row_with_its_reason_and_the_others_go_on() -> None:
    robot = Robot(batch_size=2)
    robot.unreadable = {
        "0001.png": [CannotCaption("half a picture")],
        "0002.png": [FileNotFoundError(2, "No such file", "/images/0002.png")],
        "0003.png": [PermissionError(13, "Permission denied")],
        "0004.png": [ValueError("bad chunk")],
        "0005.png": [ValueError("bad chunk in /images/0005.png")],
    }
    robot.answers["0006.png"] = [Output(None, "refused")]
    written = [output for batch in BatchRunner(robot, threads=2).run(items(8)) for output in batch.outputs]
    assert [one.reason for one in written] == [
        None,
        "half a picture",
        "the image's file is gone",
        "the image can't be read (Permission denied)",
        "the image can't be preprocessed (ValueError: bad chunk)",
        "the image can't be preprocessed (ValueError)",
        "refused",
        None,
    ]


def test_where_no_picture_at_all_can_be_prepared_it_stops() -> None:
    class Broken(Robot):
        def preprocess(self, item: Item) -> str:
            raise TypeError("preprocess() is broken")

    with pytest.raises(MachineFailed, match=r"None of the first \d+ images .*TypeError: preprocess\(\) is broken"):
        texts(BatchRunner(Broken(), threads=2), 100)


def test_pictures_that_are_all_gone_are_rows() -> None:
    robot = Robot(batch_size=8)
    robot.unreadable = {f"{number:04}.png": [FileNotFoundError()] for number in range(100)}
    assert texts(BatchRunner(robot, threads=2), 100) == [None] * 100
    assert robot.written == []


def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_prepared_again() -> None:
    said: list[str] = []
    robot = Robot(batch_size=16, largest=5)
    runner = BatchRunner(robot, threads=2, notice=said.append)
    assert texts(runner, 40) == [f"a {number:04}.png" for number in range(40)]
    assert sorted(robot.prepared) == [f"{number:04}.png" for number in range(40)]
    assert max(map(len, robot.written)) == runner.batch_size.size == 4
    assert said == ["16 images at once don't fit the device's memory; continuing with 4."]


def test_where_not_even_one_fits_it_stops() -> None:
    with pytest.raises(MachineFailed, match="Not even one image fits"):
        texts(BatchRunner(Robot(batch_size=4, largest=0), threads=2), 4)


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA error: launch failure\nmore"), MachineFailed("CUDA error: dead.")]
)
def test_a_model_that_fails_stops_the_run_after_the_finished_batches(error: Exception) -> None:
    robot = Robot(batch_size=2, answers={"0005.png": [error]})
    done = []
    with pytest.raises(MachineFailed, match=r"^[^\n]*CUDA error[^\n]*$"):
        for batch in BatchRunner(robot, threads=2).run(items(100)):
            done += batch.items
    assert done == items(4)
    assert len(robot.prepared) < 20
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("preprocess")]


def test_too_few_answers_are_the_models_failure() -> None:
    class Short(Robot):
        def generate(self, items: object, prepared: object) -> list[Output]:
            return [Output("a")]

    with pytest.raises(MachineFailed, match="wrote 1 captions for 2"):
        texts(BatchRunner(Short(), threads=1), 2)


def test_a_file_of_another_size_than_was_ingested_is_another_picture(tmp_path: Path) -> None:
    (tmp_path / "0000.png").write_bytes(b"12345")
    robot = Robot(batch_size=3)
    there, changed = (Item(f"{size}", str(tmp_path / "0000.png"), size_bytes=size) for size in (5, 6))
    gone = Item("7", str(tmp_path / "gone.png"), size_bytes=7)  # left to the model, which may have it from elsewhere
    (batch,) = list(BatchRunner(robot, threads=1).run([there, changed, gone]))
    assert [output.text for output in batch.outputs] == ["a 0000.png", None, "a gone.png"]
    assert "has changed since ingest" in str(batch.outputs[1].reason)
    assert robot.prepared == ["0000.png", "gone.png"]


def test_interrupted_its_threads_end_promptly() -> None:
    robot = Robot(batch_size=4, prepare_s=0.02, answers={"0008.png": [KeyboardInterrupt()]})
    run = BatchRunner(robot, threads=2).run(items(10_000))
    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        list(run)
    assert time.perf_counter() - started < 20  # all of them: 100 s
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("preprocess")]


def test_it_needs_neither_polars_nor_duckdb() -> None:
    code = (
        "import sys, curator.captioners.model.batch_runner;"
        "print([m for m in ('polars', 'duckdb', 'numpy', 'torch', 'click') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
