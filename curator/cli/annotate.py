"""The `curator annotate` commands: people refine captions in Label Studio."""

from __future__ import annotations

import click

from curator.cli.annotate_prefer import prefer
from curator.cli.annotate_start import start
from curator.cli.annotate_sync import pull, push, status
from schemas.edge import Program


@click.group(cls=Program)
def annotate() -> None:
    """Let people refine captions in Label Studio, and pull their work back."""


for command in (start, push, pull, status, prefer):
    annotate.add_command(command)
