"""The `curator annotate` commands: people refine captions in Label Studio."""

from __future__ import annotations

import click

from curator.annotate.start_cli import start
from schemas.edge import Program


@click.group(cls=Program)
def annotate() -> None:
    """Have people refine captions in Label Studio."""


annotate.add_command(start)
