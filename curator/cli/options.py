"""Options shared by several commands."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from schemas.edge import COMMANDS, catch_errors, json_option

Command = TypeVar("Command", bound=Callable[..., Any])
SERVER = "curator.server"
# A command that a person is told to give: in backticks, at the end of a message, in a line of what is next.
COMMAND = re.compile(r"(?<=`)curator [^`\n]*(?=`)|(?<=: )curator [^`\n]*|(?<=\x1b\[0m )curator .*", re.MULTILINE)
NAME = re.compile(r"curator (?:(?:annotate|token) )?[a-z]+")


def catalog_option(command: Command) -> Command:
    """Add `--catalog FILE` and `--server URL`; both give `catalog`, a path."""
    file_option = click.option(
        "--catalog",
        type=click.Path(path_type=Path),
        default=lambda: Path(os.environ.get("CURATOR_CATALOG") or "amatl.duckdb"),
        show_default="$CURATOR_CATALOG, else ./amatl.duckdb",
        callback=_catalog,
        help="The catalog file.",
    )
    server_option = click.option(
        "--server",
        metavar="URL",
        envvar="CURATOR_URL",
        is_eager=True,
        expose_value=False,
        callback=_server,
        help="The catalog of a service on another machine.  [default: $CURATOR_URL]",
    )
    return server_option(file_option(command))


def on_catalog(command: Command) -> Command:
    """Add --catalog, --server, --json, and errors in one line."""
    return catalog_option(json_option(catch_errors(command)))


tokenizer_option = click.option(
    "--tokenizer",
    metavar="NAME|FOLDER",
    help="A hub name, or a tokenizer's folder.  [default: openai/clip-vit-large-patch14]",
)
person_option = click.option("--as", "person", default=None, help="The person to record. [default: your user name]")


def _server(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Store the URL for `_catalog`, which click calls later."""
    from schemas.edge.address import address_of

    if value and not address_of(value):
        raise click.BadParameter(f"{value}: give the full URL, such as https://lab.example.org", context, parameter)
    by_option = context.get_parameter_source("server") is ParameterSource.COMMANDLINE
    context.meta[SERVER] = (value, by_option)


def _catalog(context: click.Context, parameter: click.Parameter, value: Path) -> Path:
    """An option on the command line wins over an environment variable."""
    url, by_option = context.meta[SERVER]
    has_catalog_option = context.get_parameter_source("catalog") is ParameterSource.COMMANDLINE
    if has_catalog_option or by_option:
        option = ["--catalog", str(value)] if has_catalog_option else ["--server", url]
        context.meta[COMMANDS] = partial(_with_option, shlex.join(option))
    if has_catalog_option and by_option:
        raise click.UsageError("--catalog and --server: give one of the two.", context)
    return Path(url) if url and not has_catalog_option else value


def _with_option(option: str, text: str) -> str:
    """Add the option that named the catalog to each command in a text, so that it is about the same catalog."""

    def completed(command: re.Match[str]) -> str:
        if "--catalog" in command[0] or "--server" in command[0] or command[0].startswith("curator init"):
            return command[0]
        return " && ".join(
            NAME.sub(lambda name: f"{name[0]} {option}", part, count=1) for part in command[0].split(" && ")
        )

    return COMMAND.sub(completed, text)
