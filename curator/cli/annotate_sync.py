"""The commands `curator annotate push`, `pull` and `status`."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import click

from curator.cli.options import on_catalog, person_option
from schemas.edge import fail, progress_bar, show

url_option = click.option(
    "--url",
    metavar="URL",
    help="Label Studio's address.  [default: $LABEL_STUDIO_URL, else from `annotate start`]",
)

images_url_option = click.option(
    "--images-url",
    metavar="URL",
    help="The address of the previews.  [default: $CURATOR_IMAGES_URL, else from `annotate start`]",
)
days_option = click.option(
    "--days",
    type=click.IntRange(1),
    default=90,
    show_default=True,
    metavar="N",
    help="Image addresses expire after N days.",
)


@click.command()
@click.argument("dataset")
@click.option("--set", "source", required=True, metavar="SET[@N]", help="The version to refine; SET: the latest.")
@click.option("--to", "target_set", required=True, metavar="SET", help="The set for people's captions.")
@url_option
@click.option("--project", metavar="TITLE", help="The project's title in Label Studio.  [default: DATASET/SET]")
@click.option("--where", metavar="EXPRESSION", help="Only images that match this expression.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N images.")
@click.option("--annotators", type=click.IntRange(1), metavar="N", help="People per image.  [default: 1]")
@images_url_option
@days_option
@person_option
@on_catalog
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

    Later pushes update the project: new images, captions of a new version, image addresses that expire soon, a
    labeling page changed by hand. People's work is never touched, no image is sent twice, and an interrupted push
    continues. Without --where and --limit, the images are those of the last push. The token comes from
    $LABEL_STUDIO_API_KEY, else from `annotate start`.

    \b
    Example:
      curator annotate push openmoji --set blip --to human
      curator annotate push openmoji --set blip@2 --to human --where "group = 'food-drink'" --limit 76
    """
    from curator.annotate.label_studio.connect import connect, images_address
    from curator.annotate.label_studio.project import record_of
    from curator.annotate.push.run import push as stage
    from curator.catalog import Catalog
    from curator.cli.text.annotate import text_of_push
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
    show(result, as_json, text_of_push)


@click.command()
@click.argument("dataset", required=False)
@url_option
@click.option("--project", metavar="TITLE", help="Only the project with this title.")
@click.option(
    "--pick", metavar="RULE", help="Which answer wins: latest, or reviewer=NAME.  [default: as last time, else latest]"
)
@click.option("--watch", is_flag=True, help="Keep pulling until Ctrl-C.")
@click.option(
    "--every",
    type=click.FloatRange(0.5),
    metavar="SECONDS",
    default=10.0,
    show_default=True,
    help="With --watch: the interval.",
)
@click.option("--nudge", metavar="HOST:PORT", help="With --watch: let Label Studio notify this address of new work.")
@person_option
@on_catalog
def pull(
    dataset: str | None,
    url: str | None,
    project: str | None,
    pick: str | None,
    watch: bool,
    every: float,
    nudge: str | None,
    person: str | None,
    catalog: Path,
    as_json: bool,
) -> None:
    """Pull people's captions from Label Studio, from all projects or from DATASET's.

    Every revision of every annotation is stored with its person, time, duration and original caption. Work done while
    nothing was pulling arrives with the next pull.

    \b
    Effect of an answer:
      a caption          goes into the set; of several people's captions, the one that --pick selects
      image rejected     the same, and snapshots leave the image out (unless --keep-rejected)
      emptied caption    ignored: it never makes a caption empty
      page was changed   an unreadable answer is stored and counted; push restores the page
      skip, draft        no answer (yet); skips are counted
      edit later         a new revision, also after a commit: versions never change
      deleted            the next annotation counts, else the caption is removed; history keeps it
      task deleted       its answers stay here; push doesn't ask again
      user removed       the work stays, under the last known name

    \b
    Example:
      curator annotate pull
      curator annotate pull --watch
      curator annotate pull openmoji --pick reviewer=ana@example.org
    """
    from curator.annotate.pull.every_project import pull_all
    from curator.annotate.pull.revisions import Rule
    from curator.cli.text.annotate import text_of_pull_all
    from curator.person import user_name

    rule = Rule.parse(pick) if pick else None
    if nudge and not watch:
        raise click.UsageError("--nudge needs --watch.")
    if watch:
        from curator.annotate.pull.watch import watch as stage

        with suppress(KeyboardInterrupt):
            stage(
                catalog,
                lambda result: show(result, as_json, text_of_pull_all),
                lambda error: click.echo(f"Waiting: {error}", err=True),
                url=url,
                dataset=dataset,
                title=project,
                rule=rule,
                person=person or user_name(),
                every=every,
                nudge=nudge,
            )
        return
    with progress_bar(as_json) as progress:
        result = pull_all(catalog, url, dataset, project, rule, person or user_name(), progress)
    show(result, as_json, text_of_pull_all)
    if result.failures:
        fail(result.failures[0].kind, result.failures[0].message, 1, as_json)


@click.command()
@click.argument("dataset", required=False)
@url_option
@on_catalog
def status(dataset: str | None, url: str | None, catalog: Path, as_json: bool) -> None:
    """Show the state of all annotation projects, or of DATASET's: progress, answers to pull, problems.

    Exit code 1 if there is a problem: Label Studio or the previews can't be reached, the project is gone or was changed
    by hand, a push was interrupted, image addresses have expired.

    \b
    Example:
      curator annotate status
    """
    from curator.annotate.status import status as stage
    from curator.catalog import Catalog
    from curator.cli.text.annotate import text_of_status

    with Catalog(catalog) as opened:
        result = stage(opened, url, dataset)
    show(result, as_json, text_of_status)
    if not result.healthy:
        sys.exit(1)
