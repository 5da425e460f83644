"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from schemas.edge import catch_errors, json_option

Command = TypeVar("Command", bound=Callable[..., Any])
SERVER = "curator.server"


def catalog_option(command: Command) -> Command:
    """Adds `--catalog FILE` and `--server URL`, which is a catalog too: the command gets one path, `catalog`."""
    of_file = click.option(
        "--catalog",
        type=click.Path(path_type=Path),
        default=lambda: Path(os.environ.get("CURATOR_CATALOG") or "amatl.duckdb"),
        show_default="$CURATOR_CATALOG, else ./amatl.duckdb",
        callback=_catalog,
        help="The catalog file.",
    )
    of_service = click.option(
        "--server",
        metavar="URL",
        envvar="CURATOR_URL",
        is_eager=True,
        expose_value=False,
        callback=_server,
        help="The catalog of a service on another machine.  [default: $CURATOR_URL]",
    )
    return of_service(of_file(command))


def on_catalog(command: Command) -> Command:
    """What every command on a catalog has: --catalog, --server, --json, and errors in one line."""
    return catalog_option(json_option(catch_errors(command)))


tokenizer_option = click.option(
    "--tokenizer",
    metavar="NAME|FOLDER",
    help="By hub name, or a folder with one.  [default: openai/clip-vit-large-patch14]",
)
person_option = click.option("--as", "person", default=None, help="Who is doing this. [default: your user name]")


def _server(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Keeps the URL for `_catalog`, which is called after."""
    from schemas.edge.address import address_of

    if value and not address_of(value):
        raise click.BadParameter(f"{value}: give it whole, such as https://lab.example.org", context, parameter)
    by_option = context.get_parameter_source("server") is ParameterSource.COMMANDLINE
    context.meta[SERVER] = (value, by_option)


def _catalog(context: click.Context, parameter: click.Parameter, value: Path) -> Path:
    """The file, or the service's URL where there is one: of two, the one given on the line."""
    url, by_option = context.meta[SERVER]
    named = context.get_parameter_source("catalog") is ParameterSource.COMMANDLINE
    if named and by_option:
        raise click.UsageError("--catalog and --server: give one of them.", context)
    return Path(url) if url and not named else value
