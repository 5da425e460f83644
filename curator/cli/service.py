"""The commands `curator serve`, `token` and `prune`: the service, who may use it, and what it keeps."""

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
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen here; 0.0.0.0: other machines reach it.")
@click.option("--port", type=click.IntRange(0, 65535), default=8400, show_default=True, help="0: any that is free.")
@click.option("--public-url", metavar="URL", help="What people type for it, behind a proxy that speaks HTTPS.")
@click.option("--require-token", is_flag=True, help="On this machine, too: behind a proxy everyone comes from here.")
@click.option(
    "--allow",
    "allowed",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FOLDER",
    help="Jobs may read and write here; repeatable.  [default: anywhere without tokens, nowhere with]",
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
    """Hold the catalog for many: pages, an API, jobs; until Ctrl-C.

    While it runs, every other command on this machine goes through it by itself. From another machine everyone needs a
    token (`curator token`), and a proxy that speaks HTTPS in front. What it keeps lies in CATALOG.service.

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
        click.echo("Stopped. The catalog is closed; the same command starts it again.")


@click.group(cls=Program)
def token() -> None:
    """Say who may use the service from another machine, and end that."""


@token.command()
@click.argument("person")
@click.option(
    "--scope",
    type=click.Choice(["read", "annotate", "write"]),
    default="annotate",
    show_default=True,
    help="read looks; annotate also writes captions; write also ingests, commits and starts jobs.",
)
@click.option("--days", type=click.IntRange(1, 3650), metavar="N", help="It expires after N days.  [default: never]")
@click.option("--as", "made_by", help="Who makes it. [default: your user name]")
@on_catalog
def add(person: str, scope: Scope, days: int | None, made_by: str | None, catalog: Path, as_json: bool) -> None:
    """Make a token for PERSON and print it, this once.

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
    """List the tokens there are: whose, what for, since when. Never the tokens themselves."""
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
    """End token ID, as `curator token list` numbers it, with every login made with it. At once, for good."""
    from curator.catalog import Catalog
    from curator.person import user_name
    from curator.server import access_tokens as stage

    with Catalog(catalog) as opened:
        result = stage.revoke(opened, token_id, person or user_name())
    show(result, as_json, stage.text_of_revoked)


@click.command()
@click.option(
    "--days", type=click.IntRange(1), default=7, show_default=True, metavar="N", help="What lay untouched for N days."
)
@click.option("--gone", is_flag=True, help="Also sent pictures of images that are gone: perhaps the last copies.")
@click.option("--dry-run", is_flag=True, help="Show what would go; remove nothing.")
@on_catalog
def prune(days: int, gone: bool, dry_run: bool, catalog: Path, as_json: bool) -> None:
    """Free disk of what nothing refers to: sent pictures that no ingest named, thumbnails of images that are gone.

    It works in CATALOG.service, also while a service runs. Captions, versions, runs and pictures of a dataset stay.

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
