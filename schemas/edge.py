"""How both programs meet a person: one-line errors with exit codes, `--json`, and progress bars.

Thin on purpose: a command calls one stage function and hands its result to `show`.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from schemas.errors import AmatlError
from schemas.progress import Progress, silent

if TYPE_CHECKING:
    from pydantic import BaseModel

Command = TypeVar("Command", bound=Callable[..., Any])


class Program(click.Group):
    """A click group that lists commands in the order of the work; with `--json` its usage errors are JSON."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        argv = kwargs.get("args") or (args[0] if args else None) or sys.argv[1:]
        if "--json" not in argv:
            return super().main(*args, **kwargs)
        try:
            return super().main(*args, **{**kwargs, "standalone_mode": False})
        except click.ClickException as error:
            fail(type(error).__name__, error.format_message(), error.exit_code, as_json=True)


def json_option(command: Command) -> Command:
    """Adds `--json`: the result as one JSON document on stdout, errors as JSON on stderr."""
    text = "Print the result as JSON; errors too, on stderr."
    return click.option("--json", "as_json", is_flag=True, help=text)(command)


def catch_errors(command: Command) -> Command:
    """Turns AmatlError, OSError and Ctrl-C into one line (or JSON) and an exit code; never a traceback."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        as_json = bool(kwargs.get("as_json"))
        try:
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


def fail(kind: str, message: str, exit_code: int, as_json: bool) -> NoReturn:
    """Prints one error on stderr and leaves."""
    document = {"error": {"type": kind, "message": message}}
    click.echo(json.dumps(document, ensure_ascii=False) if as_json else f"Error: {message}", err=True)
    sys.exit(exit_code)


def show(result: BaseModel, as_json: bool, render: Callable[[Any], str]) -> None:
    """Prints a stage's result: JSON as it is, or what `render` makes of it for a person."""
    click.echo(result.model_dump_json(indent=2) if as_json else render(result))


@contextmanager
def progress_bar(as_json: bool = False) -> Iterator[Progress]:
    """A `Progress` that draws a bar a stage on stderr; plain lines where that is no terminal; nothing with `--json`."""
    if as_json:
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines()
        return
    tasks: dict[str, TaskID] = {}
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    with Bars(*columns, console=console) as bars:

        def on_terminal(stage: str, done: int, total: int | None, detail: str = "") -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, detail="")
            bars.update(tasks[stage], completed=done, total=total, detail=detail)

        yield on_terminal


def _plain_lines(every_seconds: float = 10.0) -> Progress:
    """Progress for logs: a line when a stage starts, every few seconds, and when it ends."""
    import time

    last: dict[str, float] = {}

    def line(stage: str, done: int, total: int | None, detail: str = "") -> None:
        now = time.monotonic()
        if stage in last and now - last[stage] < every_seconds and done != total:
            return
        last[stage] = now
        click.echo(f"{stage}: {done}{f'/{total}' if total is not None else ''} {detail}".rstrip(), err=True)

    return line
