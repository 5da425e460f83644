"""A machine that says what a test tells it to, and a strategy `robot` that has it.

    robot = Robot()                                 # "a 0003.png" for the image of that file name
    robot.answers["0003.png"] = ["", Written(None, "refused"), CannotCaption("not this one"), "a fox"]

Answers to an image are used up in turn, the last one for good. An exception among them is raised by `write`; those in
`unreadable` are raised by `prepare`.
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
from curator.captioners.model import DoesNotFit, Item, Written

Answer = str | Written | BaseException | None


@dataclass
class Robot:
    """A `Machine` by script. `largest`: more at once don't fit; times are in seconds an image."""

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    unreadable: dict[str, list[BaseException]] = field(default_factory=dict)
    batch_size: int | None = 2
    largest: int | None = None
    prepare_s: float = 0.0
    write_s: float = 0.0
    call_s: float = 0.0  # of a call of write, however many images
    prepared: list[str] = field(default_factory=list)
    written: list[list[str]] = field(default_factory=list)
    loaded: int = 0
    closed: int = 0
    most_at_once: int = 0  # prepared, and not yet written
    _lock: Any = field(default_factory=threading.Lock)
    _waiting: int = 0

    def prepare(self, item: Item) -> str:
        """The file's name."""
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

    def write(self, items: Sequence[Item], prepared: Sequence[str]) -> list[Written]:
        """The next answer for each."""
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

    def _answer(self, name: str) -> Written:
        answer: Any = _next(self.answers.get(name)) if name in self.answers else f"a {name}"
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, Written) else Written(answer, None if answer is not None else "no idea")


class RobotOptions(StrategyOptions):
    """What it is asked, and how fast."""

    prompt: str = "Say what you see."
    batch_size: int | None = None


def install(monkeypatch: pytest.MonkeyPatch, robot: Robot, **parts: Any) -> ModuleType:
    """Makes a strategy `robot` with this machine; `parts` replace those of its module (VERSION, model, fields ...)."""
    module = ModuleType("fake_robot", "Captions by script. `--strategy robot`")

    def machine(options: RobotOptions) -> Robot:
        robot.loaded += 1
        robot.batch_size = options.batch_size or robot.batch_size
        return robot

    defaults = {
        "VERSION": 1,
        "Options": RobotOptions,
        "PACE": frozenset({"batch_size"}),
        "fields": lambda options, available: [],
        "model": lambda options: Model(name="acme/robot", revision="r1"),
        "machine": machine,
    }
    for name, part in (defaults | parts).items():
        setattr(module, name, part)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    point = importlib.metadata.EntryPoint("robot", module.__name__, captioners.ENTRY_POINTS)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point])
    return module


def _next(queue: Any) -> Any:
    """Uses up a queue, but for its last."""
    if not queue:
        return None
    return queue.pop(0) if len(queue) > 1 else queue[0]
