"""The commands `curator annotate push` and `pull`. Parse, call the stage, show."""

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
    help="Label Studio's address.  [default: $LABEL_STUDIO_URL, else that of `annotate start`]",
)

images_url_option = click.option(
    "--images-url",
    metavar="URL",
    help="Where the previews are served.  [default: $CURATOR_IMAGES_URL, else by `annotate start`]",
)
days_option = click.option(
    "--days", type=click.IntRange(1), default=90, show_default=True, metavar="N", help="How long images can be seen."
)


@click.command()
@click.argument("dataset")
@click.option("--set", "source", required=True, metavar="SET[@N]", help="The captions to refine; its latest version.")
@click.option("--to", "target_set", required=True, metavar="SET", help="The set that people's captions go into.")
@url_option
@click.option("--project", metavar="TITLE", help="The project's title in Label Studio.  [default: DATASET/SET]")
@click.option("--where", metavar="EXPRESSION", help="Only the images that this holds for.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N of them.")
@click.option("--annotators", type=click.IntRange(1), metavar="N", help="How many people caption each.  [default: 1]")
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

    Again, it brings the project up to date: new images, a new version's captions, image addresses that end soon, a
    labeling page that was changed by hand. What people did there is never touched, no image is sent twice, and a push
    that was interrupted goes on from there. Without --where and --limit the images are those chosen at the last push.
    The token comes from $LABEL_STUDIO_API_KEY, else from `annotate start`.

    \b
    Example:
      curator annotate push openmoji --set blip --to human
      curator annotate push openmoji --set blip@2 --to human --where "group = 'food-drink'" --limit 76
    """
    from curator.annotate.label_studio.connect import connect, images_address
    from curator.annotate.label_studio.project import record_of
    from curator.annotate.push.run import push as stage
    from curator.catalog import Catalog
    from curator.cli.text.annotate import of_push
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


@click.command()
@click.argument("dataset", required=False)
@url_option
@click.option("--project", metavar="TITLE", help="Only the project of this title.")
@click.option(
    "--pick", metavar="RULE", help="Whose caption holds: latest, or reviewer=NAME.  [default: as last, latest]"
)
@click.option("--watch", is_flag=True, help="Go on pulling, until Ctrl-C.")
@click.option(
    "--every",
    type=click.FloatRange(0.5),
    metavar="SECONDS",
    default=10.0,
    show_default=True,
    help="With --watch: how often.",
)
@click.option("--nudge", metavar="HOST:PORT", help="With --watch: have Label Studio say at once that there is work.")
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
    """Bring people's captions back from Label Studio, of every project or of DATASET's.

    Every revision of every annotation seen is kept, with person, time, how long it took, and the caption it was made
    from; work done while nothing was pulling arrives at the next pull.

    \b
    What becomes of an answer:
      a caption          goes into the set, if --pick picks it where several people captioned an image
      image rejected     the same, and the image stays out of snapshots (but with --keep-rejected)
      emptied caption    never makes a caption empty: as if there were no annotation
      page was changed   an answer that can't be read is kept as it came and counted; push puts the page back
      skip, draft        no answer (yet); skips are counted
      edit later         a new revision, also after a commit: versions never change
      deleted            the next annotation speaks for the image, else its caption is taken out; history keeps it
      task deleted       what was answered stays here; push doesn't ask again
      user removed       the work stays, under the name last known

    \b
    Example:
      curator annotate pull
      curator annotate pull --watch
      curator annotate pull openmoji --pick reviewer=ana@example.org
    """
    from curator.annotate.pull.every_project import pull_all
    from curator.annotate.pull.revisions import Rule
    from curator.cli.text.annotate import of_pull_all
    from curator.person import user_name

    rule = Rule.parse(pick) if pick else None
    if nudge and not watch:
        raise click.UsageError("--nudge goes with --watch.")
    if watch:
        from curator.annotate.pull.watch import watch as stage

        with suppress(KeyboardInterrupt):
            stage(
                catalog,
                lambda found: show(found, as_json, of_pull_all),
                lambda trouble: click.echo(f"Waiting: {trouble}", err=True),
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
    show(result, as_json, of_pull_all)
    if result.failures:
        fail(result.failures[0].kind, result.failures[0].message, 1, as_json)


@click.command()
@click.argument("dataset", required=False)
@url_option
@on_catalog
def status(dataset: str | None, url: str | None, catalog: Path, as_json: bool) -> None:
    """How the annotation projects stand, all or DATASET's: what is done, what is to pull, what has to be put right.

    Exit code 1 where something has to be put right: Label Studio or the previews can't be reached, the project is gone
    or was changed by hand, a push was interrupted, images can't be seen any more.

    \b
    Example:
      curator annotate status
    """
    from curator.annotate.status import status as stage
    from curator.catalog import Catalog
    from curator.cli.text.annotate import of_status

    with Catalog(catalog) as opened:
        result = stage(opened, url, dataset)
    show(result, as_json, of_status)
    if not result.healthy:
        sys.exit(1)
