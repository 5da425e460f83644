"""`curator annotate`: captions refined by people in Label Studio. Parse, call the stage, show."""

from __future__ import annotations

from pathlib import Path

import click

from curator.options import catalog_option, person_option
from schemas.edge import Program, catch_errors, json_option, progress_bar, show

url_option = click.option(
    "--url",
    metavar="URL",
    help="Label Studio's address.  [default: $LABEL_STUDIO_URL, else that of `annotate start`]",
)


@click.group(cls=Program)
def annotate() -> None:
    """Have people refine captions in Label Studio, and bring their work back."""


@annotate.command()
@click.argument("dataset")
@click.option("--set", "source", required=True, metavar="SET[@N]", help="The captions to refine; its latest version.")
@click.option("--to", "target_set", required=True, metavar="SET", help="The set that people's captions go into.")
@url_option
@click.option("--project", metavar="TITLE", help="The project's title in Label Studio.  [default: DATASET/SET]")
@click.option("--where", metavar="EXPRESSION", help="Only the images that this holds for.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N of them.")
@click.option("--annotators", type=click.IntRange(1), metavar="N", help="How many people caption each.  [default: 1]")
@click.option("--images-url", metavar="URL", help="Where the previews are served.  [default: by `annotate start`]")
@click.option("--days", type=click.IntRange(1), default=90, show_default=True, help="How long images can be seen.")
@person_option
@catalog_option
@json_option
@catch_errors
def push(
    dataset: str,
    source: str,
    target_set: str,
    url: str | None,
    project: str | None,
    where: str | None,
    limit: int | None,
    annotators: int | None,
    images_url: str | None,
    days: int,
    person: str | None,
    catalog: Path,
    as_json: bool,
) -> None:
    """Send the images of DATASET to Label Studio, each with a caption to refine.

    Again, it brings the project up to date: new images, a new version's captions, image addresses that end soon, a
    labeling page that was changed by hand. What people did there is never touched, no image is sent twice, and a push
    that was interrupted goes on from there. Without --where and --limit the images are those chosen at the last push.
    The token comes from $LABEL_STUDIO_API_KEY, else from `annotate start`.

    \b
    Example:
      curator annotate push openmoji --set blip --to human
      curator annotate push openmoji --set blip@2 --to human --where "group = 'food-drink'" --limit 76
    """
    from curator.annotate.connect import connect, images_address
    from curator.annotate.project import record_of
    from curator.annotate.push import push as stage
    from curator.annotate.show import of_push
    from curator.catalog import Catalog
    from curator.person import user_name

    with Catalog(catalog) as opened, progress_bar(as_json) as progress:
        last = record_of(opened, dataset, target_set, project or f"{dataset}/{target_set}") or {}
        images = images_address(catalog, images_url, last.get("images_url"))
        with connect(catalog, url, last.get("url")) as client:
            result = stage(
                opened,
                client,
                dataset,
                source,
                target_set,
                images,
                title=project,
                condition=where,
                limit=limit,
                annotators=annotators,
                days=days,
                person=person or user_name(),
                progress=progress,
            )
    show(result, as_json, of_push)
