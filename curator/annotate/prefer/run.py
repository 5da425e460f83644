"""Let people compare captions blind: which version do they prefer, and how certain is that (`curator annotate prefer`).

Running the command again adds what is missing, renews images' URLs, reads every answer and counts. Each task shows the
texts of all versions, without names, in an order drawn by hash of (comparison, image).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl
from pydantic import BaseModel, Field

from curator.annotate.label_studio.client import LabelStudio
from curator.annotate.label_studio.http import Uncertain
from curator.annotate.prefer import page as prefer_page
from curator.annotate.prefer.answers import given, read_back, standing
from curator.annotate.prefer.comparison import Address, Comparison, find_or_make
from curator.annotate.prefer.figures import Agreement, Pair, PersonFigures, agreement, first_place, pairs, people
from curator.annotate.previews.sources import previews
from curator.caption_sets.reference import Reference, committed
from curator.where import images_where
from schemas.errors import BadOption
from schemas.progress import Progress, silent

if TYPE_CHECKING:
    from curator.catalog import Catalog

BATCH = 500
DAYS = 90
LIMIT = 100


class PreferResult(BaseModel):
    """The answers of a comparison so far."""

    dataset: str
    versions: list[str]
    project: int = Field(description="Its number in Label Studio.")
    project_url: str
    images: int = Field(description="Asked: each shows every version's caption.")
    sent: int = Field(description="Of these, new in this run.")
    same_text: int = Field(description="Images not asked, since all versions say the same there.")
    without_caption: int = Field(description="Images not asked, since a version has no caption of them.")
    without_preview: dict[str, int] = Field(
        default_factory=dict, description="Images not asked, or asked and blank, by reason."
    )
    answered: int = Field(description="Images with an answer.")
    answers: int = Field(description="Of all people; skips aside.")
    skipped: int
    unreadable: int = Field(description="Answers that say nothing: the page had been changed in Label Studio.")
    pairs: list[Pair]
    people: list[PersonFigures]
    agreement: Agreement | None
    first_place: float | None = Field(description="Share of choices on the candidate shown first: a check for bias.")
    notes: list[str] = Field(default_factory=list)


def prefer(
    catalog: Catalog,
    client: LabelStudio,
    dataset: str,
    sets: Sequence[str],
    images_url: str,
    *,
    condition: str | None = None,
    limit: int = LIMIT,
    annotators: int | None = None,
    days: int = DAYS,
    person: str = "",
    progress: Progress = silent,
) -> PreferResult:
    """Bring a comparison up to date and count the answers.

    `sets`: two to six committed versions, or sets, which stand for their latest. `limit` images are drawn by hash;
    one that has been asked stays. Raise NotFound, BadOption, LabelStudioFailed; after an interruption the same call
    goes on from there.
    """
    references = _versions(catalog, dataset, sets)
    comparison = Comparison(catalog, client, dataset, _texts(catalog, references), person)
    find_or_make(comparison, annotators)
    _read_tasks(comparison)
    candidates, same_text, without = _images(comparison, condition)
    chosen = _draw(comparison, candidates, limit)
    paths = dict(catalog.images_of_dataset(dataset).select("image_sha256", "path").iter_rows())
    address = Address(images_url, datetime.now(UTC) + timedelta(days=days), previews(catalog, paths))
    sent, without_preview = _send(comparison, chosen, address, paths, progress)
    read_back(comparison, address, progress)
    return _result(comparison, sent, same_text, without, without_preview)


def _versions(catalog: Catalog, dataset: str, sets: Sequence[str]) -> list[Reference]:
    """Return committed versions: the one named, else the set's latest."""
    found = [committed(catalog, dataset, name, "--sets") for name in sets]
    if not 2 <= len({str(reference) for reference in found}) == len(found) <= prefer_page.MOST:
        raise BadOption(f"--sets: name 2 to {prefer_page.MOST} different versions, for example template@1,blip@2.")
    return found


def _texts(catalog: Catalog, references: Iterable[Reference]) -> dict[str, dict[str, str]]:
    return {
        str(reference): dict(
            catalog.caption_texts(reference.dataset, reference.set_name, reference.last_caption_id)
            .select("image_sha256", "text")
            .iter_rows()
        )
        for reference in references
    }


def _read_tasks(comparison: Comparison) -> None:
    """Read the tasks. Record those that an interrupted run sent, so that nothing is sent twice."""
    rows = comparison.catalog.preference_tasks(comparison.key).iter_rows()
    on_record = {task_id: (image, json.loads(shown)) for task_id, image, shown in rows}
    there: dict[int, str] = {}
    for page in comparison.client.tasks(comparison.number, "data"):
        there |= {int(task["id"]): str((task.get("data") or {}).get("image_sha256")) for task in page}
    known = {image for task, (image, _) in on_record.items() if task in there}
    found = {task: image for task, image in there.items() if task not in on_record and image not in known}
    comparison.shown = {task: what for task, what in on_record.items() if task in there}
    _record_tasks(comparison, {task: image for task, image in found.items() if _is_asked(comparison, image)})
    there_now = {image for image, _ in comparison.shown.values()}
    lost = len({image for image, _ in on_record.values()} - there_now)
    if lost:
        comparison.notes.append(
            f"Images whose task was deleted in Label Studio: {lost}. They are asked anew; earlier answers don't count."
        )


def _is_asked(comparison: Comparison, image: str) -> bool:
    return all(image in texts for texts in comparison.texts.values())


def _record_tasks(comparison: Comparison, tasks: Mapping[int, str]) -> None:
    if not tasks:
        return
    rows = [
        {"task_id": task, "image_sha256": image, "shown": json.dumps(comparison.order(image))}
        for task, image in tasks.items()
    ]
    comparison.catalog.add_preference_tasks(comparison.key, pl.DataFrame(rows))
    comparison.shown |= {task: (image, comparison.order(image)) for task, image in tasks.items()}


def _images(comparison: Comparison, condition: str | None) -> tuple[list[str], int, int]:
    """Return the images to choose from, and how many have one text in all versions, or lack a caption."""
    images = comparison.catalog.images_of_dataset(comparison.dataset)["image_sha256"].to_list()
    if condition is not None:
        holds = set(images_where(comparison.catalog, comparison.dataset, condition))
        images = [image for image in images if image in holds]
    captioned = [image for image in images if _is_asked(comparison, image)]
    differ = [image for image in captioned if len({texts[image] for texts in comparison.texts.values()}) > 1]
    asked = {image for image, _ in comparison.shown.values()}
    if not differ and not asked:
        where = " that --where holds for" if condition else ""
        raise BadOption(f"There is no image{where} of which these versions say different things.")
    return differ, len(captioned) - len(differ), len(images) - len(captioned)


def _draw(comparison: Comparison, candidates: Iterable[str], limit: int) -> list[str]:
    """Return images to add so that `limit` are asked. The draw is by hash: what is ingested later doesn't change it."""
    asked = {image for image, _ in comparison.shown.values()}
    drawn = sorted(
        (image for image in candidates if image not in asked),
        key=lambda image: hashlib.sha256(f"{comparison.key} {image}".encode()).digest(),
    )
    return drawn[: max(0, limit - len(asked))]


def _send(
    comparison: Comparison, images: Sequence[str], address: Address, paths: Mapping[str, str], progress: Progress
) -> tuple[int, dict[str, int]]:
    """Send tasks in batches, each recorded before the next. Return how many, and missing previews by reason."""
    reasons: dict[str, int] = {}
    made = address.previews
    shown = [image for image, _ in comparison.shown.values() if image in paths]
    for reason in made.make([*images, *made.lacking(shown)], progress):  # or removed from the disk
        reasons[reason] = reasons.get(reason, 0) + 1
    lacking = set(made.lacking(images))
    ready = [image for image in images if image not in lacking]
    made.sign(ready, address.expires_at)
    for first in range(0, len(ready), BATCH):
        batch = ready[first : first + BATCH]
        tasks = [
            {"data": prefer_page.task_data(address.of(image), image, comparison.dataset, comparison.captions(image))}
            for image in batch
        ]
        try:
            ids = comparison.client.import_tasks(comparison.number, tasks)
        except Uncertain as error:
            raise Uncertain(f"{error} Run the same command again: it looks first.") from error
        _record_tasks(comparison, dict(zip(ids, batch, strict=True)))
        progress("sending comparisons", first + len(batch), len(ready))
    return len(ready), reasons


def _result(
    comparison: Comparison, sent: int, same_text: int, without: int, without_preview: dict[str, int]
) -> PreferResult:
    rows = standing(comparison)
    found = given(comparison, [row for row in rows if row["outcome"] in ("chosen", "same")])
    return PreferResult(
        dataset=comparison.dataset,
        versions=comparison.versions,
        project=comparison.number,
        project_url=f"{comparison.client.url}/projects/{comparison.number}",
        images=len({image for image, _ in comparison.shown.values()}),
        sent=sent,
        same_text=same_text,
        without_caption=without,
        without_preview=without_preview,
        answered=len({answer.image_sha256 for answer in found}),
        answers=len(found),
        skipped=sum(row["outcome"] == "skipped" for row in rows),
        unreadable=sum(row["outcome"] == "unreadable" for row in rows),
        pairs=pairs(comparison.versions, found),
        people=people(comparison.versions, found),
        agreement=agreement(found),
        first_place=first_place(found),
        notes=comparison.notes,
    )
