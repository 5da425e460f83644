"""Push a dataset's images to Label Studio, each with a caption to refine. Pushing again goes on from any interruption.

Tasks are found by image: the catalog records every task as soon as Label Studio returns its number, and both sides are
compared before anything is sent (curator.annotate.push.ledger). A proposed caption is replaced by adding the new
version's and showing that one. The old one stays, unseen: a page open in a browser names it as what the person started
from, and Label Studio refuses their work if it is gone.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from curator.annotate.label_studio import project as projects
from curator.annotate.label_studio.client import LabelStudio
from curator.annotate.label_studio.labeling_page import labeling_config, task_data
from curator.annotate.previews.sources import Previews, previews
from curator.annotate.push.ledger import Ledger, reconcile
from curator.annotate.push.plan import Material, Plan, choose
from curator.annotate.push.send import Sender, Stock, signing
from curator.caption import check_set_name
from curator.caption_sets.reference import Reference, committed, resolve, set_versions
from curator.caption_sets.versions import is_committed
from curator.catalog.annotations import PushRecord
from curator.where import images_where
from schemas.document import rfc3339
from schemas.errors import BadOption
from schemas.progress import Progress, silent

if TYPE_CHECKING:
    from curator.catalog import Catalog

DAYS = 90


class PushResult(BaseModel):
    """The result of a push."""

    dataset: str
    target: str = Field(description="The set people refine the captions into: dataset/set.")
    model_version: str = Field(description="Whose captions are proposed: dataset/set@n.")
    url: str
    project: int = Field(description="The project's number in Label Studio.")
    project_url: str
    made_project: bool
    images: int = Field(description="Images chosen.")
    tasks: int = Field(description="Tasks the project has now.")
    sent: int = 0
    replaced: int = Field(default=0, description="Tasks that show this version's caption now.")
    updated: int = Field(default=0, description="Tasks whose data or image address were renewed.")
    unchanged: int = 0
    kept: int = Field(default=0, description="Tasks of images that aren't chosen (any more).")
    already_answered: int = Field(
        default=0, description="Images whose task is gone, and whose answer was pulled before."
    )
    found_again: int = Field(default=0, description="Tasks that an interrupted push had sent.")
    doubles_removed: int = 0
    doubles_kept: int = Field(default=0, description="Tasks of an image that has another one; people worked on both.")
    deleted_there: int = Field(default=0, description="Tasks that somebody deleted in Label Studio.")
    strangers: int = Field(default=0, description="Tasks there that aren't of this dataset; left alone.")
    without_caption: int = Field(default=0, description="Images that the version has no caption of.")
    without_preview: dict[str, int] = Field(
        default_factory=dict, description="Images not sent or not renewed, by reason."
    )
    expires_at: str = Field(description="When the first address of an image ends.")
    notes: list[str] = Field(default_factory=list)


def push(
    catalog: Catalog,
    client: LabelStudio,
    dataset: str,
    source: str,
    target_set: str,
    images_url: str,
    *,
    title: str | None = None,
    condition: str | None = None,
    limit: int | None = None,
    annotators: int | None = None,
    days: int = DAYS,
    person: str = "",
    progress: Progress = silent,
) -> PushResult:
    """Make the project of (dataset, target_set, title) propose the captions of `source` (`set` or `set@n`).

    Without `condition` and `limit` the images are those of the last push. Raise NotFound (dataset, set, version),
    BadOption, BadExpression, LabelStudioFailed; after any of them the same call goes on from there.
    """
    version = committed(catalog, dataset, source, "--set")
    check_set_name(target_set)
    title = title or f"{dataset}/{target_set}"
    before = projects.record_of(catalog, dataset, target_set, title)
    if condition is None and limit is None and before:
        condition, limit = before["condition"], before["image_limit"]
    stock, pictures = _stock(catalog, version, target_set, condition, limit)
    place = projects.find_or_make(client, catalog, dataset, target_set, title, person)
    record = PushRecord(
        push_id=catalog.reserve_annotation_push(),
        project_key=place.project_key,
        url=client.url,
        label_studio_id=place.label_studio_id,
        model_version=str(version),
        condition=condition,
        image_limit=limit,
        config_sha256=projects.config_sha256(labeling_config()),
        images_url=images_url,
        person=person,
    )
    catalog.add_annotation_push(record, False, {})
    last_config = before["config_sha256"] if before and not place.made else None
    notes = projects.settle(client, place, last_config, annotators) + _notes(catalog, version, place)
    ledger = Ledger(catalog, place.project_key, dataset, record.push_id, pictures).load()
    reconcile(client, place.label_studio_id, ledger)
    answered = set(catalog.answered_images(dataset, target_set, title)["image_sha256"])
    sender = Sender(client, record, ledger, stock, answered, signing(ledger, images_url, days), progress)
    made = sender.run()
    result = _result(sender, made, place, f"{dataset}/{target_set}", notes)
    catalog.add_annotation_push(record, True, _counts(result))
    return result


def _stock(
    catalog: Catalog, version: Reference, target_set: str, condition: str | None, limit: int | None
) -> tuple[Stock, Previews]:
    images = catalog.images_of_dataset(version.dataset)
    holds = set(images_where(catalog, version.dataset, condition)) if condition is not None else None
    captions = _texts(catalog, version)
    others = _other_captions(catalog, version, target_set)
    material: dict[str, Material] = {}
    columns = images.select("image_sha256", "file_name", "metadata").iter_rows()
    for image, file_name, metadata in columns:
        shown = {name: texts[image] for name, texts in others.items() if image in texts}
        data = task_data("", image, version.dataset, file_name, json.loads(metadata), shown)
        material[image] = Material(image, data, captions.get(image))
    chosen = choose((image for image in material if image in captions), holds, limit)
    if not chosen:
        left = f"{len(captions)} images have a caption in {version}" + (", --where holds for none" if condition else "")
        raise BadOption(f"There is no image to send: {left}.")
    paths = dict(images.select("image_sha256", "path").iter_rows())
    return Stock(material=material, chosen=chosen), previews(catalog, paths)


def _texts(catalog: Catalog, version: Reference) -> dict[str, str]:
    found = catalog.caption_texts(version.dataset, version.set_name, version.last_caption_id)
    return dict(found.select("image_sha256", "text").iter_rows())


def _other_captions(catalog: Catalog, version: Reference, target_set: str) -> dict[str, dict[str, str]]:
    """Return the captions of every other set's latest version, for reference."""
    found = {}
    for dataset, name in catalog.caption_sets().select("dataset", "set_name").iter_rows():
        versions = set_versions(catalog, dataset, name)
        if dataset == version.dataset and name not in (version.set_name, target_set) and versions:
            found[name] = _texts(catalog, Reference.model_validate(versions[-1]))
    return found


def _result(sender: Sender, made: Plan, place: projects.Place, target: str, notes: list[str]) -> PushResult:
    record, ledger = sender.record, sender.ledger
    return PushResult(
        dataset=ledger.dataset,
        target=target,
        model_version=record.model_version,
        url=record.url,
        project=place.label_studio_id,
        project_url=f"{record.url}/projects/{place.label_studio_id}",
        made_project=place.made,
        images=len(sender.stock.chosen),
        tasks=len(ledger.alive),
        sent=sender.sent,
        replaced=sender.replaced,
        updated=sender.updated,
        unchanged=made.unchanged,
        kept=made.kept,
        already_answered=made.already_answered,
        without_caption=made.without_caption,
        without_preview=sender.without_preview,
        expires_at=rfc3339(min((task.expires_at for task in ledger.alive.values()), default=sender.signing.expires_at)),
        notes=notes,
        **ledger.counts,
    )


def _counts(result: PushResult) -> dict[str, int]:
    """Return the figures that the catalog keeps."""
    return {name: value for name, value in result.model_dump().items() if type(value) is int and name != "project"}


def _notes(catalog: Catalog, version: Reference, place: projects.Place) -> list[str]:
    notes = []
    if place.replaced is not None:
        notes.append(f"Project {place.replaced} is gone from Label Studio; project {place.label_studio_id} was made.")
    now = resolve(catalog, f"{version.dataset}/{version.set_name}")
    latest = set_versions(catalog, version.dataset, version.set_name)[-1]["number"]
    if latest == version.number and not is_committed(catalog, now):
        notes.append(f"{now} has captions that no version has: {version} is proposed. Commit, then push again.")
    return notes
