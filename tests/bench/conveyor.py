"""What the conveyor of captioning machines costs an image, and what its two overlapping stages gain."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from curator.captioners.model import Item, Output
from curator.captioners.model.batch_runner import BatchRunner
from tests.bench.table import Row

IMAGES = 100_000
WAITING = 400
STAGE_S = 0.002  # an image in each stage: what a fast machine and its decoder take
WRITTEN = Output("a fox")


@dataclass
class Idle:
    """A machine that does nothing, or sleeps: `write` an image as long as `prepare` on one of two threads."""

    stage_s: float = 0.0
    batch_size: int | None = 64

    def preprocess(self, item: Item) -> str:
        if self.stage_s:
            time.sleep(self.stage_s * 2)
        return item.path

    def generate(self, items: Sequence[Item], prepared: Sequence[str]) -> list[Output]:
        if self.stage_s:
            time.sleep(self.stage_s * len(items))
        return [WRITTEN] * len(items)

    def close(self) -> None: ...


def looped(machine: Idle, items: list[Item], size: int = 64) -> int:
    """The obvious way: prepare a batch, write it, take the next."""
    done = 0
    for start in range(0, len(items), size):
        batch = items[start : start + size]
        done += len(machine.generate(batch, [machine.preprocess(item) for item in batch]))
    return done


def conveyed(machine: Idle, items: list[Item]) -> int:
    return sum(len(batch.outputs) for batch in BatchRunner(machine, threads=2).run(items))


def bench() -> list[Row]:
    items = [Item(str(number), f"{number}.png") for number in range(IMAGES)]
    rate, plain = _rate(conveyed, Idle(), items), _rate(looped, Idle(), items)
    cost = f"{1e6 / rate:.1f} us an image ({rate:,.0f} images/s); the loop {1e6 / plain:.1f} us"
    few = items[:WAITING]
    fast, slow = _rate(conveyed, Idle(STAGE_S), few), _rate(looped, Idle(STAGE_S), few)
    return [
        Row("conveyor, machine that does nothing", "a plain loop", rate / plain, cost),
        Row("conveyor, two threads", "one stage after the other", fast / slow, f"{fast:,.0f} images/s of at most 500"),
    ]


def _rate(drive: Callable[[Idle, list[Item]], int], machine: Idle, items: list[Item]) -> float:
    start = time.perf_counter()
    if drive(machine, items) != len(items):
        raise AssertionError("an image is missing")
    return len(items) / (time.perf_counter() - start)
