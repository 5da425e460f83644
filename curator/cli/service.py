"""The commands `curator serve`, `token` and `prune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from curator.cli.options import on_catalog, person_option
from schemas.edge import Program, progress_bar, show

if TYPE_CHECKING:
    from curator.server.access_tokens import Scope
    from curator.server.logs import LogFormat


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen here; 0.0.0.0: for other machines.")
@click.option("--port", type=click.IntRange(0, 65535), default=8400, show_default=True, help="0: any free port.")
@click.option("--public-url", metavar="URL", help="The public address, behind an HTTPS proxy.")
@click.option("--require-token", is_flag=True, help="On this machine too; needed with a proxy here.")
@click.option(
    "--allow",
    "allowed",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FOLDER",
    help="A folder that jobs may use; repeatable.  [default: any without tokens, none with]",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@on_catalog
def serve(
    host: str,
    port: int,
    public_url: str | None,
    require_token: bool,
    allowed: tuple[Path, ...],
    log_format: LogFormat,
    catalog: Path,
    as_json: bool,
) -> None:
    """Serve the catalog to many people until Ctrl-C: pages, an API, jobs.

    While it runs, other commands on this machine use it automatically. Other machines need a token (`curator token`)
    and an HTTPS proxy in front of the service. Its data is in CATALOG.service.

    \b
    Example:
      curator serve
      curator token add ana --scope write
      curator serve --host 0.0.0.0 --allow /photos --public-url https://lab.example.org
    """
    from curator.server import serve as stage

    options = stage.ServeOptions(host, port, public_url, allowed, require_token, log_format)
    program = click.get_current_context().find_root().command
    assert isinstance(program, click.Group)
    stage.serve(catalog, options, lambda result: show(result, as_json, stage.text_of_serve), program)
    if not as_json:
        click.echo("Stopped. The catalog is closed; run the same command to start again.")


@click.group(cls=Program)
def token() -> None:
    """Manage access to the service from other machines."""


@token.command()
@click.argument("person")
@click.option(
    "--scope",
    type=click.Choice(["read", "annotate", "write"]),
    default="annotate",
    show_default=True,
    help="read: view; annotate: also write captions; write: also ingest, commit and start jobs.",
)
@click.option("--days", type=click.IntRange(1, 3650), metavar="N", help="Days until it expires.  [default: never]")
@click.option("--as", "made_by", help="The person who makes it. [default: your user name]")
@on_catalog
def add(person: str, scope: Scope, days: int | None, made_by: str | None, catalog: Path, as_json: bool) -> None:
    """Make a token for PERSON and print it. It isn't shown again.

    \b
    Example:
      curator token add bo --scope annotate --days 90
    """
    from curator.catalog import Catalog
    from curator.person import user_name
    from curator.server import access_tokens as stage

    with Catalog(catalog) as opened:
        result = stage.add(opened, person, scope, days, made_by or user_name())
    show(result, as_json, stage.text_of_new_token)


@token.command(name="list")
@on_catalog
def list_tokens(catalog: Path, as_json: bool) -> None:
    """List all tokens with person, scope and date, but never the tokens themselves."""
    from curator.catalog import Catalog
    from curator.server import access_tokens as stage

    with Catalog(catalog) as opened:
        result = stage.tokens(opened)
    show(result, as_json, stage.text_of_tokens)


@token.command()
@click.argument("token_id", type=int, metavar="ID")
@person_option
@on_catalog
def revoke(token_id: int, person: str | None, catalog: Path, as_json: bool) -> None:
    """Revoke the token ID of `curator token list` and its logins, at once and for good."""
    from curator.catalog import Catalog
    from curator.person import user_name
    from curator.server import access_tokens as stage

    with Catalog(catalog) as opened:
        result = stage.revoke(opened, token_id, person or user_name())
    show(result, as_json, stage.text_of_revoked)


@click.command()
@click.option(
    "--days", type=click.IntRange(1), default=7, show_default=True, metavar="N", help="Only files untouched for N days."
)
@click.option("--gone", is_flag=True, help="Also uploaded images in no dataset; these may be the last copies.")
@click.option("--dry-run", is_flag=True, help="Show what would be removed; remove nothing.")
@on_catalog
def prune(days: int, gone: bool, dry_run: bool, catalog: Path, as_json: bool) -> None:
    """Delete unused files: uploads that no ingest named, and thumbnails of images in no dataset.

    It works on CATALOG.service, also while a service runs. Captions, versions, runs and a dataset's images stay.

    \b
    Example:
      curator prune --dry-run
    """
    from curator.catalog import Catalog
    from curator.server import prune as stage

    with Catalog(catalog) as opened, progress_bar(as_json) as progress:
        result = stage.prune(opened, days, gone, dry_run, progress)
    show(result, as_json, stage.text_of_prune)


COMMANDS = (serve, token, prune)
