"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path

import click

catalog_option = click.option(
    "--catalog",
    type=click.Path(path_type=Path),
    default=lambda: Path(os.environ.get("CURATOR_CATALOG") or "amatl.duckdb"),
    show_default="$CURATOR_CATALOG, else ./amatl.duckdb",
    help="The catalog file.",
)
person_option = click.option("--as", "person", default=None, help="Who is doing this. [default: your user name]")
