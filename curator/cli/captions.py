"""The commands on captions: caption, failures, commit, versions, diff, restore, stats, history. They parse and show."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from curator.cli.options import on_catalog, person_option, tokenizer_option
from schemas.edge import fail, listeners, progress_bar, show


class CaptionCommand(click.Command):
    """Its help lists the strategies; after `--strategy NAME`, that strategy's own help and options."""

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        from curator import captioners
        from curator.cli.text.captions import strategies_help, strategy_help

        name = context.params.get("strategy")
        text = strategy_help(name) if name in captioners.names() else strategies_help()
        formatter.write_paragraph()
        formatter.write("\n".join(f"  {line}".rstrip() for line in text.splitlines()) + "\n")


@click.command(cls=CaptionCommand)
@click.argument("dataset")
@click.option("--strategy", required=True, is_eager=True, metavar="NAME", help="How the captions are made; see below.")
@click.option("--set", "set_name", required=True, metavar="NAME", help="The set they go into: a-z, 0-9, _ and -.")
@click.option("-o", "options", multiple=True, metavar="KEY=VALUE", help="An option of the strategy.")
@click.option("--by", metavar="PERSON", help="Imported captions count as this person's; no strategy replaces them.")
@click.option(
    "--only",
    type=click.Choice(["changed", "missing", "all"]),
    default="changed",
    show_default=True,
    help="Images without a caption or with other inputs now; those without; every image.",
)
@click.option("--where", metavar="EXPRESSION", help="Only the images that this holds for.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Stop after N images; the next run goes on.")
@click.option(
    "--dry-run", is_flag=True, help="Caption 8 images, keep nothing, show them on a page; what all would take."
)
@click.option("--out", type=click.Path(path_type=Path), help="That page.  [default: DATASET-SET-dry-run.html]")
@click.option("--strict", is_flag=True, help="Exit with 1 where there are rejects or failures.")
@person_option
@on_catalog
def caption(
    dataset: str,
    strategy: str,
    set_name: str,
    options: tuple[str, ...],
    by: str | None,
    only: str,
    where: str | None,
    limit: int | None,
    dry_run: bool,
    out: Path | None,
    strict: bool,
    person: str | None,
    catalog: Path,
    as_json: bool,
) -> None:
    """Caption the images of DATASET by a strategy, into a caption set.

    Again, only what changed is redone: images with other metadata, or all of them after an option, the model or the
    strategy's version changed, which is told first. A person's caption is never replaced. Each batch is kept as it is
    done: interrupted or killed, the same command goes on from there, and tries again what failed.

    \b
    Example:
      curator caption openmoji --strategy template --set template -o 'template=openmoji drawing of ${annotation}'
      curator caption openmoji --strategy fixed --set fixed -o text=animal --where "group = 'animals-nature'"
      curator caption openmoji --strategy compose --set both -o sets=template,blip --dry-run
      curator caption --strategy tags --help

    With --json, stderr has events while it works: {"event": "progress" or "notice", ...}, a line each; stdout has the
    result alone.
    """
    from curator.caption import caption as stage
    from curator.caption.dry_run import dry_run as dry_stage
    from curator.catalog import Catalog
    from curator.cli.text.captions import of_caption, of_dry_run

    if out and not dry_run:
        raise click.UsageError("--out is for --dry-run.")
    make: Callable[..., Any] = partial(dry_stage, out=out) if dry_run else partial(stage, person=person)
    with Catalog(catalog) as opened, listeners(as_json) as (progress, notice):
        result = make(
            opened,
            dataset,
            strategy,
            set_name,
            options,
            by=by,
            only=only,
            where=where,
            limit=limit,
            progress=progress,
            notice=notice,
        )
    show(result, as_json, of_dry_run if dry_run else of_caption)
    if strict and not dry_run and (result.rejects or result.failed):
        sys.exit(1)


@click.command()
@click.argument("caption_set", metavar="SET")
@click.option("-m", "--message", required=True, help="What this version is.")
@person_option
@on_catalog
def commit(caption_set: str, message: str, person: str | None, catalog: Path, as_json: bool) -> None:
    """Freeze a caption set (dataset/set, or set) as its next version.

    A version never changes, and its digest depends on nothing but images and captions. With nothing new since the last
    version, it says so and commits nothing.

    \b
    Example:
      curator commit openmoji/template -m "first draft"
    """
    from curator.caption_sets.versions import commit as stage
    from curator.catalog import Catalog
    from curator.cli.text.captions import of_commit

    with Catalog(catalog) as opened:
        result = stage(opened, caption_set, message, person)
    show(result, as_json, of_commit)


@click.command()
@click.argument("caption_set", metavar="[SET]", required=False)
@on_catalog
def versions(caption_set: str | None, catalog: Path, as_json: bool) -> None:
    """List the versions of a caption set, or of every set.

    \b
    Example:
      curator versions openmoji/template
    """
    from curator.caption_sets.versions import versions as stage
    from curator.catalog import Catalog
    from curator.cli.text.captions import of_versions

    with Catalog(catalog) as opened:
        result = stage(opened, caption_set)
    show(result, as_json, of_versions)


@click.command()
@click.argument("before")
@click.argument("after", required=False)
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="How many changes to list.")
@on_catalog
def diff(before: str, after: str | None, limit: int, catalog: Path, as_json: bool) -> None:
    """Compare two versions, or sets as they are now, word by word.

    BEFORE and AFTER are dataset/set@n, set@n or set. Without AFTER: a set's latest version with the set as it is now.
    The counts are complete, whatever --limit is.

    \b
    Example:
      curator diff template@1 template@2
      curator diff template
    """
    from curator.caption_sets.diff import diff as stage
    from curator.catalog import Catalog
    from curator.cli.text.captions import of_diff

    with Catalog(catalog) as opened:
        result = stage(opened, before, after, limit)
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    show(result, as_json, lambda found: of_diff(found, coloured))


@click.command()
@click.argument("version")
@person_option
@on_catalog
def restore(version: str, person: str | None, catalog: Path, as_json: bool) -> None:
    """Put a caption set back to a VERSION (dataset/set@n), by adding revisions: nothing is lost.

    \b
    Example:
      curator restore openmoji/template@1
    """
    from curator.caption_sets.versions import restore as stage
    from curator.catalog import Catalog
    from curator.cli.text.captions import of_restore

    with Catalog(catalog) as opened:
        result = stage(opened, version, person)
    show(result, as_json, of_restore)


@click.command()
@click.argument("caption_set", metavar="SET")
@tokenizer_option
@on_catalog
def stats(caption_set: str, tokenizer: str | None, catalog: Path, as_json: bool) -> None:
    """Statistics of a caption set (dataset/set, as it is now) or version (dataset/set@n).

    How many captions, how long they are, exact token counts, captions that lose words past the tokenizer's limit,
    vocabulary, duplicates, frequent words.

    \b
    Example:
      curator stats template@1 --tokenizer examples/mini/sd
    """
    from curator.caption_sets.stats import stats as stage
    from curator.catalog import Catalog
    from curator.cli.text.captions import of_stats
    from curator.text import tokens

    with Catalog(catalog) as opened, progress_bar(as_json) as progress:
        result = stage(opened, caption_set, tokenizer or tokens.DEFAULT, progress)
    show(result, as_json, of_stats)
    if tokenizer and result.notices:  # asked for by name: the rest is printed, and it counts as an error
        fail("TokenizerUnavailable", result.notices[0], 1, as_json)


@click.command()
@click.argument("caption_set", metavar="[SET]", required=False)
@click.option("--limit", type=click.IntRange(0), default=10, show_default=True, help="So many of each; 0: all.")
@on_catalog
def failures(caption_set: str | None, limit: int, catalog: Path, as_json: bool) -> None:
    """List the images that a strategy couldn't caption, of one SET or of all, and why.

    They stay here until a later run of `curator caption`, or a person, gives them a caption.

    \b
    Example:
      curator failures openmoji/blip
    """
    from curator.caption_sets.failures import failures as stage
    from curator.caption_sets.failures import text_of_failures
    from curator.catalog import Catalog

    with Catalog(catalog) as opened:
        result = stage(opened, caption_set)
    show(result, as_json, lambda found: text_of_failures(found, limit))


@click.command()
@click.argument("image")
@on_catalog
def history(image: str, catalog: Path, as_json: bool) -> None:
    """Every caption an image ever had: by whom or what, when, with which parameters.

    IMAGE is a file name, a path, or the first 6 or more digits of its sha256.

    \b
    Example:
      curator history 1F98A-fox.png
    """
    from curator.caption_sets.history import history as stage
    from curator.catalog import Catalog
    from curator.cli.text.history import account

    with Catalog(catalog) as opened:
        result = stage(opened, image)
    show(result, as_json, account)


@click.command()
@click.argument("caption_set", metavar="SET")
@click.option("--find", metavar="TEXT", help="What to look for.")
@click.option("--with", "replacement", metavar="TEXT", help="What to put there; may be empty.")
@click.option("--regex", is_flag=True, help="--find is a regular expression, $1 in --with its first group.")
@click.option("--ignore-case", is_flag=True, help="Whatever the case.")
@click.option("--where", metavar="EXPRESSION", help="Only the captions of images that this holds for.")
@click.option("--dry-run", is_flag=True, help="Show what would change; change nothing.")
@click.option(
    "--undo", is_flag=False, flag_value="last", metavar="[RUN]", help="Put back what a replace changed: the last one."
)
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="How many changes to list.")
@person_option
@on_catalog
def replace(
    caption_set: str,
    find: str | None,
    replacement: str | None,
    regex: bool,
    ignore_case: bool,
    where: str | None,
    dry_run: bool,
    undo: str | None,
    limit: int,
    person: str | None,
    catalog: Path,
    as_json: bool,
) -> None:
    """Find and replace in the captions of a SET. What it changes becomes yours: no strategy replaces it.

    Each change is a new revision, so it can be undone, also later: captions changed since stay as they are.

    \b
    Example:
      curator replace openmoji/human --find "grey" --with "gray" --dry-run
      curator replace openmoji/human --find "^an? " --with "" --regex
      curator replace openmoji/human --undo
    """
    from curator.caption_sets.replace import replace as stage
    from curator.caption_sets.replace import undo_replace
    from curator.catalog import Catalog
    from curator.cli.text.captions import of_replace, of_undo

    if (undo is None) == (find is None) or (find is None) != (replacement is None):
        raise click.UsageError("Give --find and --with, or --undo.")
    if undo not in (None, "last") and not str(undo).isdecimal():
        raise click.UsageError(f"--undo {undo}: the number of a replace, as it told it.")
    with Catalog(catalog) as opened:
        if undo is not None:
            show(undo_replace(opened, caption_set, None if undo == "last" else int(undo), person), as_json, of_undo)
            return
        assert find is not None and replacement is not None
        result = stage(opened, caption_set, find, replacement, regex, ignore_case, where, dry_run, person, limit)
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    show(result, as_json, lambda found: of_replace(found, coloured))


@click.command()
@click.argument("caption_set", metavar="SET")
@click.option("--where", metavar="EXPRESSION", help="Only the captions of images that this holds for.")
@click.option("--dry-run", is_flag=True, help="Count what would be accepted; change nothing.")
@click.option(
    "--undo", is_flag=False, flag_value="last", metavar="[RUN]", help="Take back what an accept took: the last one."
)
@person_option
@on_catalog
def accept(
    caption_set: str,
    where: str | None,
    dry_run: bool,
    undo: str | None,
    person: str | None,
    catalog: Path,
    as_json: bool,
) -> None:
    """Accept captions of a SET as they are: they become yours, and no strategy replaces them.

    \b
    Example:
      curator accept openmoji/template --where "group = 'animals-nature' and caption.template like '%fox%'"
      curator accept openmoji/template --undo
    """
    from curator.caption_sets.accept import accept as stage
    from curator.caption_sets.accept import undo_accept
    from curator.catalog import Catalog
    from curator.cli.text.captions import of_accept, of_undo

    if undo not in (None, "last") and not str(undo).isdecimal():
        raise click.UsageError(f"--undo {undo}: the number of an accept, as it told it.")
    with Catalog(catalog) as opened:
        if undo is not None:
            show(undo_accept(opened, caption_set, None if undo == "last" else int(undo), person), as_json, of_undo)
            return
        show(stage(opened, caption_set, where, dry_run=dry_run, person=person), as_json, of_accept)


COMMANDS = (caption, failures, commit, versions, diff, restore, replace, accept, stats, history)
