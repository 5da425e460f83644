"""The commands for trust in captions: check, compare. Parse, call the stage, show."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from curator.cli.options import on_catalog, tokenizer_option
from schemas.edge import progress_bar, show


class CheckCommand(click.Command):
    """Its help lists the checks and what is allowed of each."""

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        from curator.check.findings import KINDS

        width = max(map(len, KINDS))
        lines = [
            f"  {kind.code:<{width}}  {kind.allowed:>4.0%}  {kind.severity:<8}{kind.unit} that {kind.title}"
            for kind in KINDS.values()
        ]
        formatter.write("\nChecks, and the share that is allowed of each:\n" + "\n".join(lines) + "\n")


@click.command(cls=CheckCommand)
@click.argument("caption_set", metavar="SET")
@tokenizer_option
@click.option("--trigger", metavar="WORD", help="A word, or several, that every caption must hold.")
@click.option(
    "--field", "fields", multiple=True, metavar="NAME", help="A metadata field whose values captions must say."
)
@click.option("--allow", multiple=True, metavar="CHECK=SHARE", help="Fine up to this share: duplicate=0.2, empty=1%.")
@click.option(
    "--near",
    type=float,
    default=0.9,
    show_default=True,
    metavar="S",
    help="Nearly the same from this similarity: words in common / words of either.",
)
@click.option("--baseline", metavar="SET@N", help="Fail only on what is worse than there.")
@click.option("--strict", is_flag=True, help="Exit with 1 where there are errors, warnings or checks not made.")
@click.option("--examples", type=click.IntRange(0), default=3, show_default=True, metavar="N", help="Of each finding.")
@on_catalog
def check(
    caption_set: str,
    tokenizer: str | None,
    trigger: str | None,
    fields: tuple[str, ...],
    allow: tuple[str, ...],
    near: float,
    baseline: str | None,
    strict: bool,
    examples: int,
    catalog: Path,
    as_json: bool,
) -> None:
    """Check the captions of a set (dataset/set, as it is now) or version (dataset/set@n) before training on them.

    What is more than its allowed share is an error or a warning, with examples and what to do.

    \b
    Example:
      curator check openmoji/template --tokenizer examples/mini/sd
      curator check template@2 --trigger openmoji --field annotation --allow duplicate=20%
      curator check template --baseline template@1 --strict --json
    """
    from curator.catalog import Catalog
    from curator.check.findings import parse_allow
    from curator.check.run import Settings
    from curator.check.run import check as stage
    from curator.cli.text.check import account
    from curator.text import tokens

    settings = Settings(
        tokenizer=tokenizer or tokens.DEFAULT,
        trigger=trigger,
        fields=tuple(dict.fromkeys(fields)),
        allow=parse_allow(allow),
        near=near,
        examples=examples,
    )
    with Catalog(catalog) as opened, progress_bar(as_json) as progress:
        result = stage(opened, caption_set, settings, baseline, progress)
    show(result, as_json, account)
    if strict and not result.passed:
        sys.exit(1)


@click.command()
@click.argument("dataset")
@click.option("--sets", required=True, metavar="SET@N,...", help="Two sets or versions of it, or more.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a page, with pictures, that needs nothing else.",
)
@tokenizer_option
@click.option("--clip", metavar="NAME|FOLDER", help="Score each caption by this CLIP model.")
@on_catalog
def compare(
    dataset: str, sets: str, out: Path | None, tokenizer: str | None, clip: str | None, catalog: Path, as_json: bool
) -> None:
    """Set caption strategies of DATASET side by side, before training: what each says, and where they differ.

    Statistics, agreement of each pair, metadata that the captions say, words that one set alone has, and the images on
    which they differ most, over the images that all of them caption. A CLIP model's scores are kept in $AMATL_CACHE.

    \b
    Example:
      curator compare openmoji --sets template@1,human@1 --out captions.html
      curator compare openmoji --sets template@1,blip@2,human --clip openai/clip-vit-base-patch32
    """
    from curator.catalog import Catalog
    from curator.cli.text.compare import account
    from curator.compare import compare as stage
    from curator.text import tokens

    names = [name.strip() for name in sets.split(",") if name.strip()]
    with Catalog(catalog) as opened, progress_bar(as_json) as progress:
        result = stage(
            opened, dataset, names, tokenizer=tokenizer or tokens.DEFAULT, clip=clip, page=out, progress=progress
        )
    show(result, as_json, account)


COMMANDS = (check, compare)
