"""A scripted caption model, and a strategy `robot` that uses it.

    robot = Robot()                                 # "a 0003.png" for the image of that file name
    robot.answers["0003.png"] = ["", Output(None, "refused"), CannotCaption("not this one"), "a fox"]

Answers to an image are used in turn, the last one from then on. Exceptions among them are raised by `generate`, those
in `unreadable` by `preprocess`.
"""

from __future__ import annotations

import importlib.metadata
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from curator import captioners
from curator.captioners import Model, StrategyOptions
from curator.captioners.model import DoesNotFit, Item, Output

Answer = str | Output | BaseException | None


@dataclass
class Robot:
    """A scripted `CaptionModel`. `largest`: larger batches don't fit; times are in seconds an image."""

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    unreadable: dict[str, list[BaseException]] = field(default_factory=dict)
    batch_size: int | None = 2
    largest: int | None = None
    prepare_s: float = 0.0
    write_s: float = 0.0
    call_s: float = 0.0  # of a call of generate, however many images
    prepared: list[str] = field(default_factory=list)
    written: list[list[str]] = field(default_factory=list)
    loaded: int = 0
    closed: int = 0
    most_at_once: int = 0  # preprocessed, and not yet captioned
    _lock: Any = field(default_factory=threading.Lock)
    _waiting: int = 0

    def preprocess(self, item: Item) -> str:
        """Return the file's name."""
        name = Path(item.path).name
        if self.prepare_s:
            time.sleep(self.prepare_s)
        if problem := _next(self.unreadable.get(name)):
            raise problem
        with self._lock:
            self.prepared.append(name)
            self._waiting += 1
            self.most_at_once = max(self.most_at_once, self._waiting)
        return name

    def generate(self, items: Sequence[Item], prepared: Sequence[str]) -> list[Output]:
        """Return the next answer for each item."""
        if self.largest is not None and len(items) > self.largest:
            raise DoesNotFit
        assert [Path(item.path).name for item in items] == list(prepared)
        if self.write_s or self.call_s:
            time.sleep(self.write_s * len(items) + self.call_s)
        answers = [self._answer(name) for name in prepared]
        with self._lock:
            self._waiting -= len(items)
        self.written.append(list(prepared))
        return answers

    def close(self) -> None:
        self.closed += 1

    def _answer(self, name: str) -> Output:
        answer: Any = _next(self.answers.get(name)) if name in self.answers else f"a {name}"
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, Output) else Output(answer, None if answer is not None else "no idea")


class RobotOptions(StrategyOptions):
    """Options of the strategy `robot`."""

    prompt: str = "Say what you see."
    batch_size: int | None = None


def install(monkeypatch: pytest.MonkeyPatch, robot: Robot, **parts: Any) -> ModuleType:
    """Install a strategy `robot` with this model; `parts` replace those of its module (VERSION, model, fields ...)."""
    module = ModuleType("fake_robot", "Captions by script. `--strategy robot`")

    def load_model(options: RobotOptions) -> Robot:
        robot.loaded += 1
        robot.batch_size = options.batch_size or robot.batch_size
        return robot

    defaults = {
        "VERSION": 1,
        "Options": RobotOptions,
        "SPEED_OPTIONS": frozenset({"batch_size"}),
        "fields": lambda options, available: [],
        "model": lambda options: Model(name="acme/robot", revision="r1"),
        "load_model": load_model,
    }
    for name, part in (defaults | parts).items():
        setattr(module, name, part)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    point = importlib.metadata.EntryPoint("robot", module.__name__, captioners.ENTRY_POINTS)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point])
    return module


def _next(queue: Any) -> Any:
    """Take the first of a queue, but leave the last one."""
    if not queue:
        return None
    return queue.pop(0) if len(queue) > 1 else queue[0]
