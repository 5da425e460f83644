"""The command-line behaviour of both programs: one-line errors with exit codes, `--json`, progress bars.

Thin on purpose: a command calls one stage function and hands its result to `show`.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, TypeVar

import click

from schemas.edge.address import UnencryptedTokenWarning
from schemas.edge.words import duration
from schemas.errors import AmatlError
from schemas.progress import TO_THE_END, Notice, Progress, silent

if TYPE_CHECKING:
    from pydantic import BaseModel

Command = TypeVar("Command", bound=Callable[..., Any])
EVENTS = "AMATL_EVENTS"
COMMANDS = "schemas.edge.commands"  # In click's context: adds to a text's commands the options that they need here.
WIDE = 90  # Columns of a terminal from which there is room for a bar.


class Program(click.Group):
    """A click group that lists commands in the order of the work; with `--json` its usage errors are JSON."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        argv = kwargs.get("args") or (args[0] if args else None) or sys.argv[1:]
        as_json = "--json" in argv
        try:
            return super().main(*args, **({**kwargs, "standalone_mode": False} if as_json else kwargs))
        except click.ClickException as error:
            fail(type(error).__name__, error.format_message(), error.exit_code, as_json=True)
        except AmatlError as error:  # Of options that are read while the line is parsed.
            fail(type(error).__name__, str(error), error.exit_code, as_json)


def json_option(command: Command) -> Command:
    """Add `--json`: the result as one JSON document on stdout, errors as JSON on stderr."""
    text = "Print the result as JSON; errors too, on stderr."
    return click.option("--json", "as_json", is_flag=True, help=text)(command)


def catch_errors(command: Command) -> Command:
    """Turn AmatlError, OSError and Ctrl-C into one line (or JSON) and an exit code, without a traceback.

    The warning `UnencryptedTokenWarning` is printed once as a line; with `--json` as an event (see `listeners`).
    """

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        as_json = bool(kwargs.get("as_json"))
        try:
            with _warned(as_json):
                return command(*args, **kwargs)
        except AmatlError as error:
            fail(type(error).__name__, str(error), error.exit_code, as_json)
        except KeyboardInterrupt:
            message = "Interrupted. What was finished is kept; the same command goes on from there."
            fail("Interrupted", message, 130, as_json)
        except BrokenPipeError:
            sys.exit(0)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            fail(type(error).__name__, f"{where}{error.strerror or error}", 1, as_json)

    return wrapped  # type: ignore[return-value]


@contextmanager
def _warned(as_json: bool) -> Iterator[None]:
    """Print `UnencryptedTokenWarning` warnings as lines; leave other warnings as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UnencryptedTokenWarning)
        other, said = warnings.showwarning, set[str]()

        def told(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            text = str(message)
            if category is not UnencryptedTokenWarning:
                other(message, category, *where, **more)
            elif text not in said:
                said.add(text)
                click.echo(_line({"event": "notice", "message": text}) if as_json else f"Warning: {text}", err=True)

        warnings.showwarning = told
        yield


def fail(kind: str, message: str, exit_code: int, as_json: bool) -> NoReturn:
    """Print one error on stderr and exit."""
    message = _from_here(message)
    document = {"error": {"type": kind, "message": message}}
    click.echo(_line(document) if as_json else f"Error: {message}", err=True)
    sys.exit(exit_code)


def show(result: BaseModel, as_json: bool, render: Callable[[Any], str]) -> None:
    """Print a stage's result: as JSON, or as the text that `render` returns."""
    click.echo(result.model_dump_json(indent=2) if as_json else _from_here(render(result)))


def _from_here(text: str) -> str:
    """Return a text whose commands run as they stand; see `COMMANDS`."""
    context = click.get_current_context(silent=True)
    complete: Callable[[str], str] | None = context.meta.get(COMMANDS) if context else None
    return complete(text) if complete else text


@contextmanager
def progress_bar(as_json: bool = False) -> Iterator[Progress]:
    """Yield a `Progress` with a bar per stage on stderr; plain lines without a terminal; nothing with `--json`.

    With `--json` and AMATL_EVENTS, which a service sets for its jobs, it prints events: see `listeners`.
    """
    if as_json:
        yield _events() if os.environ.get(EVENTS) else silent
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars
    from rich.table import Column
    from rich.text import Text

    console = Console(file=_WhileItLasts(sys.stderr))  # type: ignore[arg-type]
    if not console.is_terminal:
        yield _plain_lines()
        return
    tasks: dict[str, TaskID] = {}

    class TimeLeft(TimeRemainingColumn):
        """The time left, or the time taken at the end; empty if the detail has it."""

        def render(self, task: Task) -> Text:
            told = not task.finished and TO_THE_END in task.fields["detail"]
            return Text("") if told else super().render(task)

    columns: list[
        ProgressColumn
    ] = [  # What counts is never cut: details go on below, and narrow terminals have no bar.
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        *([BarColumn(bar_width=16)] if console.width >= WIDE else []),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeLeft(elapsed_when_finished=True, table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[detail]}", table_column=Column(overflow="fold")),
    ]
    with Bars(*columns, console=console) as bars:

        def on_terminal(stage: str, done: int, total: int | None, detail: str = "") -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, detail="")
            bars.update(tasks[stage], completed=done, total=total, detail=detail)

        yield on_terminal


class _WhileItLasts:
    """stderr that ignores errors: a closed terminal must not end the work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def listeners(as_json: bool = False) -> Iterator[tuple[Progress, Notice]]:
    """Yield `progress_bar` and a function that prints notices on stderr; with `--json`, events there.

    An event is a line of JSON: {"event": "notice", "message": ...}, or {"event": "progress", "stage", "done", "total",
    "detail", "per_second", "seconds_left"} (null while unknown), once a second and at the end of each stage. stdout
    keeps its one document, the result; an error is the last line, as always: {"error": ...}.
    """
    if as_json:
        yield _events(), lambda text: click.echo(_line({"event": "notice", "message": text}), err=True)
        return
    with progress_bar() as progress:
        yield progress, lambda text: click.echo(text, err=True)


class _Pace:
    """The speed of a stage since its first call."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[float, int]] = {}

    def per_second(self, stage: str, done: int) -> float | None:
        """Items per second; None before the first."""
        now = time.monotonic()
        start, before = self._first.setdefault(stage, (now, done))
        return (done - before) / (now - start) if done > before and now > start else None

    def seconds_left(self, stage: str, done: int, total: int | None) -> float | None:
        """Seconds left; None while unknown."""
        rate = self.per_second(stage, done)
        return (total - done) / rate if rate and total is not None else None


def _plain_lines(every_seconds: float = 10.0) -> Progress:
    """Return progress for logs: a line at a stage's start, every few seconds with the time left, and at its end."""
    due, pace = _due(every_seconds), _Pace()

    def line(stage: str, done: int, total: int | None, detail: str = "") -> None:
        left = pace.seconds_left(stage, done, total)
        if not due(stage, done, total):
            return
        add = f"{duration(left)} left" if left and TO_THE_END not in detail else ""
        detail = ", ".join(part for part in (detail, add) if part)
        with suppress(OSError):  # As for a terminal that is gone.
            click.echo(f"{stage}: {done}{f'/{total}' if total is not None else ''} {detail}".rstrip(), err=True)

    return line


def _events(every_seconds: float = 1.0) -> Progress:
    """Return progress as events."""
    due, pace = _due(every_seconds), _Pace()

    def event(stage: str, done: int, total: int | None, detail: str = "") -> None:
        rate, left = pace.per_second(stage, done), pace.seconds_left(stage, done, total)
        if due(stage, done, total):
            said = {"event": "progress", "stage": stage, "done": done, "total": total, "detail": detail}
            rounded = {"per_second": rate and round(rate, 3), "seconds_left": left if left is None else round(left, 1)}
            with suppress(OSError):
                click.echo(_line(said | rounded), err=True)

    return event


def _due(every_seconds: float) -> Callable[[str, int, int | None], bool]:
    """Return whether to report a stage now: at its start, its end, and at intervals."""
    last: dict[str, float] = {}

    def due(stage: str, done: int, total: int | None) -> bool:
        now = time.monotonic()
        if stage in last and now - last[stage] < every_seconds and done != total:
            return False
        last[stage] = now
        return True

    return due


def _line(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False)
