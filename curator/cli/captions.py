"""The commands on captions."""

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
    """Its help lists the strategies, or one strategy's options."""

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        from curator import captioners
        from curator.cli.text.captions import strategies_help, strategy_help

        name = context.params.get("strategy")
        text = strategy_help(name) if name in captioners.names() else strategies_help()
        formatter.write_paragraph()
        formatter.write("\n".join(f"  {line}".rstrip() for line in text.splitlines()) + "\n")


@click.command(cls=CaptionCommand)
@click.argument("dataset")
@click.option("--strategy", required=True, is_eager=True, metavar="NAME", help="The strategy; see below.")
@click.option("--set", "set_name", required=True, metavar="NAME", help="The set to write: a-z, 0-9, _ and -.")
@click.option("-o", "options", multiple=True, metavar="KEY=VALUE", help="An option of the strategy.")
@click.option("--by", metavar="PERSON", help="Record imported captions as this person's; no strategy replaces them.")
@click.option(
    "--only",
    type=click.Choice(["changed", "missing", "all"]),
    default="changed",
    show_default=True,
    help="Images without a caption or with changed inputs; images without a caption; all images.",
)
@click.option("--where", metavar="EXPRESSION", help="Only images that match this expression.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Stop after N images; the next run continues.")
@click.option(
    "--dry-run", is_flag=True, help="Caption 8 images, show them on a page, estimate the whole run; store nothing."
)
@click.option("--out", type=click.Path(path_type=Path), help="That page.  [default: DATASET-SET-dry-run.html]")
@click.option("--strict", is_flag=True, help="Exit with 1 if there are rejects or failures.")
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
    """Caption the images of DATASET with a strategy, into a caption set.

    A second run only redoes images whose metadata changed, or all images if an option, the model or the strategy's
    version changed; it says so first. A person's caption is never replaced. Each finished batch is stored: after an
    interruption, run the same command to continue. It also tries failed images again.

    \b
    Example:
      curator caption openmoji --strategy template --set template -o 'template=openmoji drawing of ${annotation}'
      curator caption openmoji --strategy fixed --set fixed -o text=animal --where "group = 'animals-nature'"
      curator caption openmoji --strategy compose --set both -o sets=template,blip --dry-run
      curator caption --strategy tags --help

    With --json, stderr has one event per line while it runs: {"event": "progress" or "notice", ...}; stdout has only
    the result.
    """
    from curator.caption import caption as stage
    from curator.caption.dry_run import dry_run as dry_stage
    from curator.catalog import Catalog
    from curator.cli.text.captions import text_of_caption, text_of_dry_run

    if out and not dry_run:
        raise click.UsageError("--out needs --dry-run.")
    run: Callable[..., Any] = partial(dry_stage, out=out) if dry_run else partial(stage, person=person)
    with Catalog(catalog) as opened, listeners(as_json) as (progress, notice):
        result = run(
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
    show(result, as_json, text_of_dry_run if dry_run else text_of_caption)
    if strict and not dry_run and (result.rejects or result.failed):
        sys.exit(1)


@click.command()
@click.argument("caption_set", metavar="SET")
@click.option("-m", "--message", required=True, help="Describes this version.")
@person_option
@on_catalog
def commit(caption_set: str, message: str, person: str | None, catalog: Path, as_json: bool) -> None:
    """Commit a caption set (dataset/set, or set) as its next version.

    A version never changes, and its digest depends only on images and captions. Without changes since the last version,
    nothing is committed.

    \b
    Example:
      curator commit openmoji/template -m "first draft"
    """
    from curator.caption_sets.versions import commit as stage
    from curator.catalog import Catalog
    from curator.cli.text.captions import text_of_commit

    with Catalog(catalog) as opened:
        result = stage(opened, caption_set, message, person)
    show(result, as_json, text_of_commit)


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
    from curator.cli.text.captions import text_of_versions

    with Catalog(catalog) as opened:
        result = stage(opened, caption_set)
    show(result, as_json, text_of_versions)


@click.command()
@click.argument("before")
@click.argument("after", required=False)
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="Changes to list.")
@on_catalog
def diff(before: str, after: str | None, limit: int, catalog: Path, as_json: bool) -> None:
    """Compare two versions or sets, word by word.

    BEFORE and AFTER are dataset/set@n, set@n or set. Without AFTER, compare with the set's current captions. The counts
    are complete for every --limit.

    \b
    Example:
      curator diff template@1 template@2
      curator diff template
    """
    from curator.caption_sets.diff import diff as stage
    from curator.catalog import Catalog
    from curator.cli.text.captions import text_of_diff

    with Catalog(catalog) as opened:
        result = stage(opened, before, after, limit)
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    show(result, as_json, lambda result: text_of_diff(result, coloured))


@click.command()
@click.argument("version")
@person_option
@on_catalog
def restore(version: str, person: str | None, catalog: Path, as_json: bool) -> None:
    """Restore a caption set to a VERSION (dataset/set@n) by adding revisions; nothing is lost.

    \b
    Example:
      curator restore openmoji/template@1
    """
    from curator.caption_sets.versions import restore as stage
    from curator.catalog import Catalog
    from curator.cli.text.captions import text_of_restore

    with Catalog(catalog) as opened:
        result = stage(opened, version, person)
    show(result, as_json, text_of_restore)


@click.command()
@click.argument("caption_set", metavar="SET")
@tokenizer_option
@on_catalog
def stats(caption_set: str, tokenizer: str | None, catalog: Path, as_json: bool) -> None:
    """Show statistics of a caption set (dataset/set) or version (dataset/set@n).

    Number and length of captions, exact token counts, captions cut off at the tokenizer's limit, vocabulary,
    duplicates, frequent words.

    \b
    Example:
      curator stats template@1 --tokenizer examples/mini/sd
    """
    from curator.caption_sets.stats import stats as stage
    from curator.catalog import Catalog
    from curator.cli.text.captions import text_of_stats
    from curator.text import tokens

    with Catalog(catalog) as opened, progress_bar(as_json) as progress:
        result = stage(opened, caption_set, tokenizer or tokens.DEFAULT, progress)
    show(result, as_json, text_of_stats)
    if tokenizer and result.notices:  # a tokenizer given by name must load, though the other statistics are printed
        fail("TokenizerUnavailable", result.notices[0], 1, as_json)


@click.command()
@click.argument("caption_set", metavar="[SET]", required=False)
@click.option("--limit", type=click.IntRange(0), default=10, show_default=True, help="Images to list per set; 0: all.")
@on_catalog
def failures(caption_set: str | None, limit: int, catalog: Path, as_json: bool) -> None:
    """List the images that a strategy couldn't caption, in one SET or in all, with the reasons.

    An image stays listed until a later run of `curator caption`, or a person, captions it.

    \b
    Example:
      curator failures openmoji/blip
    """
    from curator.caption_sets.failures import failures as stage
    from curator.caption_sets.failures import text_of_failures
    from curator.catalog import Catalog

    with Catalog(catalog) as opened:
        result = stage(opened, caption_set)
    show(result, as_json, lambda result: text_of_failures(result, limit))


@click.command()
@click.argument("image")
@on_catalog
def history(image: str, catalog: Path, as_json: bool) -> None:
    """Show every caption an image ever had: by whom or what, when, with which options.

    IMAGE is a file name, a path, or the first 6 or more digits of its sha256.

    \b
    Example:
      curator history 1F98A-fox.png
    """
    from curator.caption_sets.history import history as stage
    from curator.catalog import Catalog
    from curator.cli.text.history import text_of_history

    with Catalog(catalog) as opened:
        result = stage(opened, image)
    show(result, as_json, text_of_history)


@click.command()
@click.argument("caption_set", metavar="SET")
@click.option("--find", metavar="TEXT", help="The text to find.")
@click.option("--with", "replacement", metavar="TEXT", help="The replacement; may be empty.")
@click.option("--regex", is_flag=True, help="--find is a regular expression; $1 in --with is its first group.")
@click.option("--ignore-case", is_flag=True, help="Ignore upper and lower case.")
@click.option("--where", metavar="EXPRESSION", help="Only captions of images that match this expression.")
@click.option("--dry-run", is_flag=True, help="Show the changes; change nothing.")
@click.option("--undo", is_flag=False, flag_value="last", metavar="[RUN]", help="Undo a replace: the last one, or RUN.")
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="Changes to list.")
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
    """Find and replace in the captions of a SET. Changed captions become yours: no strategy replaces them.

    Each change is a new revision and can be undone later; captions changed since then stay as they are.

    \b
    Example:
      curator replace openmoji/human --find "grey" --with "gray" --dry-run
      curator replace openmoji/human --find "^an? " --with "" --regex
      curator replace openmoji/human --undo
    """
    from curator.caption_sets.replace import replace as stage
    from curator.caption_sets.replace import undo_replace
    from curator.catalog import Catalog
    from curator.cli.text.captions import text_of_replace, text_of_undo

    if (undo is None) == (find is None) or (find is None) != (replacement is None):
        raise click.UsageError("Give --find and --with, or --undo.")
    if undo not in (None, "last") and not str(undo).isdecimal():
        raise click.UsageError(f"--undo {undo}: give the number that the replace printed.")
    with Catalog(catalog) as opened:
        if undo is not None:
            undone = undo_replace(opened, caption_set, None if undo == "last" else int(undo), person)
            show(undone, as_json, text_of_undo)
            return
        assert find is not None and replacement is not None
        result = stage(opened, caption_set, find, replacement, regex, ignore_case, where, dry_run, person, limit)
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    show(result, as_json, lambda result: text_of_replace(result, coloured))


@click.command()
@click.argument("caption_set", metavar="SET")
@click.option("--where", metavar="EXPRESSION", help="Only captions of images that match this expression.")
@click.option("--dry-run", is_flag=True, help="Count the captions; change nothing.")
@click.option("--undo", is_flag=False, flag_value="last", metavar="[RUN]", help="Undo an accept: the last one, or RUN.")
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
    """Accept captions of a SET unchanged: they become yours, and no strategy replaces them.

    \b
    Example:
      curator accept openmoji/template --where "group = 'animals-nature' and caption.template like '%fox%'"
      curator accept openmoji/template --undo
    """
    from curator.caption_sets.accept import accept as stage
    from curator.caption_sets.accept import undo_accept
    from curator.catalog import Catalog
    from curator.cli.text.captions import text_of_accept, text_of_undo

    if undo not in (None, "last") and not str(undo).isdecimal():
        raise click.UsageError(f"--undo {undo}: give the number that the accept printed.")
    with Catalog(catalog) as opened:
        if undo is not None:
            undone = undo_accept(opened, caption_set, None if undo == "last" else int(undo), person)
            show(undone, as_json, text_of_undo)
            return
        show(stage(opened, caption_set, where, dry_run=dry_run, person=person), as_json, text_of_accept)


COMMANDS = (caption, failures, commit, versions, diff, restore, replace, accept, stats, history)
