"""The command `curator annotate prefer`."""

from __future__ import annotations

from pathlib import Path

import click

from curator.cli.annotate_sync import days_option, images_url_option
from curator.cli.options import on_catalog, person_option
from schemas.edge import progress_bar, show


@click.command()
@click.argument("dataset")
@click.option(
    "--sets", required=True, metavar="A,B[,...]", help="The versions to compare: SET@N, or SET for its latest version."
)
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, metavar="N", help="Images to ask about."
)
@click.option("--where", metavar="EXPRESSION", help="Only images that match this expression.")
@click.option("--annotators", type=click.IntRange(1), metavar="N", help="People per image.  [default: 1]")
@click.option("--url", metavar="URL", help="Label Studio.  [default: $LABEL_STUDIO_URL, else from `annotate start`]")
@images_url_option
@days_option
@person_option
@on_catalog
def prefer(
    dataset: str,
    sets: str,
    limit: int,
    where: str | None,
    annotators: int | None,
    url: str | None,
    images_url: str | None,
    days: int,
    person: str | None,
    catalog: Path,
    as_json: bool,
) -> None:
    """Ask people, blind, which of several captions of an image they prefer, and count the answers.

    The first run makes a project in Label Studio; later runs read the answers and show the result. Names are hidden,
    the order is random for each image, and "no difference" counts as half a win for each. The rates count images, with
    Wilson's 95 % interval. Images with the same caption in all versions are left out.

    \b
    Example:
      curator annotate prefer openmoji --sets template@1,blip@2
      curator annotate prefer openmoji --sets template,blip,human --limit 200 --annotators 2
    """
    from curator.annotate.label_studio.connect import connect, images_address
    from curator.annotate.prefer.run import prefer as stage
    from curator.catalog import Catalog
    from curator.cli.text.prefer import text_of_prefer
    from curator.person import user_name

    names = [name.strip() for name in sets.split(",") if name.strip()]
    with Catalog(catalog) as opened, progress_bar(as_json) as progress:
        images = images_address(catalog, images_url, None)
        with connect(catalog, url) as client:
            result = stage(
                opened,
                client,
                dataset,
                names,
                images,
                condition=where,
                limit=limit,
                annotators=annotators,
                days=days,
                person=person or user_name(),
                progress=progress,
            )
    show(result, as_json, text_of_prefer)
