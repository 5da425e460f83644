"""The command `curator annotate start`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from curator.cli.options import on_catalog
from schemas.edge import progress_bar, show

if TYPE_CHECKING:
    from curator.annotate.local_server.start import StartResult


@click.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="N",
    help="Label Studio's port.  [default: 8080 or above]",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for a team.")
@click.option("--address", metavar="NAME", help="This computer's address for annotators.  [default: its own address]")
@click.option(
    "--images-port", type=click.IntRange(1, 65535), metavar="N", help="Port of the previews.  [default: the next one]"
)
@click.option(
    "--database", metavar="URL", help="postgresql://user:password@host/name, stored for later starts; or sqlite."
)
@on_catalog
def start(
    port: int | None,
    host: str,
    address: str | None,
    images_port: int | None,
    database: str | None,
    catalog: Path,
    as_json: bool,
) -> None:
    """Run a Label Studio for this catalog until Ctrl-C.

    The first start installs Label Studio in a separate environment (1 GB, a few minutes) and creates your account. It
    prints the login address and the sign-up link for annotators. Data, accounts and secrets stay in
    CATALOG.label-studio, readable only by you; nothing is sent elsewhere.

    \b
    Example:
      curator annotate start
      curator annotate start --host 0.0.0.0 --database postgresql://amatl:secret@db.lan/annotations
    """
    from curator.annotate.local_server import start as stage
    from curator.annotate.local_server.ports import Wish

    wish = Wish(host, port, images_port, address, database)
    with ExitStack() as bars:
        progress = bars.enter_context(progress_bar(as_json))

        def announce(result: StartResult) -> None:
            bars.close()
            show(result, as_json, stage.account)

        stage.start(catalog, wish, announce, progress)
    if not as_json:
        click.echo("Stopped. All data is kept; run the same command to start again.")
