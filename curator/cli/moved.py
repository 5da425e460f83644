"""The command `curator moved`."""

from __future__ import annotations

from pathlib import Path

import click

from curator.cli.options import on_catalog, person_option
from schemas.edge import progress_bar, show


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@person_option
@on_catalog
def moved(old: Path, new: Path, person: str | None, catalog: Path, as_json: bool) -> None:
    """Record that the images of folder OLD are now in NEW. No file is changed.

    Each image must be at its new path with the same size and the same time or SHA-256; otherwise nothing is recorded.
    Captions, versions and splits stay as they are.

    \b
    Example:
      curator moved /photos/zoo /archive/zoo
    """
    from curator.catalog import Catalog
    from curator.ingest import moved as stage
    from curator.person import user_name

    with Catalog(catalog) as opened, progress_bar(as_json) as progress:
        result = stage.moved(opened, old, new, person or user_name(), progress)
    show(result, as_json, stage.account)
