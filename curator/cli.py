"""The `curator` command: one command a stage. It parses, calls the stage function, shows its result; no logic here."""

from __future__ import annotations

import os
from pathlib import Path

import click

from schemas import __version__
from schemas.edge import Program

catalog_option = click.option(
    "--catalog",
    type=click.Path(path_type=Path),
    default=lambda: Path(os.environ.get("CURATOR_CATALOG") or "amatl.duckdb"),
    show_default="$CURATOR_CATALOG, else ./amatl.duckdb",
    help="The catalog file.",
)
person_option = click.option("--as", "person", default=None, help="Who is doing this. [default: your user name]")


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="curator")
def main() -> None:
    """Index images, caption them by strategy, commit versions, export snapshots for training."""


if __name__ == "__main__":
    main()
