"""The commands `curator check` and `compare`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from curator.cli.options import on_catalog, tokenizer_option
from schemas.edge import progress_bar, show


class CheckCommand(click.Command):
    """Its help lists the checks."""

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        from curator.check.findings import KINDS

        width = max(map(len, KINDS))
        lines = [
            f"  {kind.code:<{width}}  {kind.allowed:>4.0%}  {kind.severity:<8}{kind.unit} that {kind.title}"
            for kind in KINDS.values()
        ]
        formatter.write("\nChecks, with the allowed share of each:\n" + "\n".join(lines) + "\n")


@click.command(cls=CheckCommand)
@click.argument("caption_set", metavar="SET")
@tokenizer_option
@click.option("--trigger", metavar="WORD", help="A word or phrase that every caption must contain.")
@click.option("--field", "fields", multiple=True, metavar="NAME", help="A metadata field that captions must mention.")
@click.option("--allow", multiple=True, metavar="CHECK=SHARE", help="Its allowed share: duplicate=0.2, empty=1%.")
@click.option(
    "--near",
    type=float,
    default=0.9,
    show_default=True,
    metavar="S",
    help="Similarity of near-duplicate captions: shared words / all words of both.",
)
@click.option("--baseline", metavar="SET@N", help="Fail only on checks that are worse than in this version.")
@click.option("--strict", is_flag=True, help="Exit with 1 for errors, warnings or checks that couldn't run.")
@click.option("--examples", type=click.IntRange(0), default=3, show_default=True, metavar="N", help="Per finding.")
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
    """Check the captions of a set (dataset/set) or version (dataset/set@n) before training on them.

    A check above its allowed share is an error or a warning, with examples and advice.

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
    from curator.cli.text.check import text_of_check
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
    show(result, as_json, text_of_check)
    if strict and not result.passed:
        sys.exit(1)


@click.command()
@click.argument("dataset")
@click.option("--sets", required=True, metavar="SET@N,...", help="Two or more sets or versions.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a self-contained page with images.",
)
@tokenizer_option
@click.option("--clip", metavar="NAME|FOLDER", help="Score each caption with this CLIP model.")
@on_catalog
def compare(
    dataset: str, sets: str, out: Path | None, tokenizer: str | None, clip: str | None, catalog: Path, as_json: bool
) -> None:
    """Compare caption sets of DATASET side by side before training.

    Shows statistics, the agreement of each pair, metadata in the captions, words unique to a set, and the images with
    the largest differences, on the images that all sets caption. CLIP scores are cached in $AMATL_CACHE.

    \b
    Example:
      curator compare openmoji --sets template@1,human@1 --out captions.html
      curator compare openmoji --sets template@1,blip@2,human --clip openai/clip-vit-base-patch32
    """
    from curator.catalog import Catalog
    from curator.cli.text.compare import text_of_compare
    from curator.compare import compare as stage
    from curator.text import tokens

    names = [name.strip() for name in sets.split(",") if name.strip()]
    with Catalog(catalog) as opened, progress_bar(as_json) as progress:
        result = stage(
            opened, dataset, names, tokenizer=tokenizer or tokens.DEFAULT, clip=clip, page=out, progress=progress
        )
    show(result, as_json, text_of_compare)


COMMANDS = (check, compare)
