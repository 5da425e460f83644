"""The `curator annotate` commands: people refine captions in Label Studio."""

from __future__ import annotations

import click

from curator.annotate.prefer_cli import prefer
from curator.annotate.start_cli import start
from curator.annotate.sync_cli import pull, push, status
from schemas.edge import Program


@click.group(cls=Program)
def annotate() -> None:
    """Have people refine captions in Label Studio, and bring their work back."""


for command in (start, push, pull, status, prefer):
    annotate.add_command(command)
