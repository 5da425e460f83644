"""The `curator` command: one command a stage. It parses, calls the stage function, shows its result; no logic here."""

from __future__ import annotations

import click

from curator.captions_cli import COMMANDS as CAPTION_COMMANDS
from schemas import __version__
from schemas.edge import Program


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="curator")
def main() -> None:
    """Index images, caption them by strategy, commit versions, export snapshots for training."""


for command in CAPTION_COMMANDS:
    main.add_command(command)


if __name__ == "__main__":
    main()
