"""The `trainer` command: one command a stage. It parses, calls the stage function, shows its result; no logic here."""

from __future__ import annotations

import click

from schemas import __version__
from schemas.edge import Program


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="trainer")
def main() -> None:
    """Finetune on a snapshot, sample the same seeds at chosen epochs, compare caption strategies."""


if __name__ == "__main__":
    main()
