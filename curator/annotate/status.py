"""Report on each annotation project: what is done, what is left to pull, what has to be put right.

A *problem* (Label Studio or the previews can't be reached, the project is gone, its page was changed, a push was
interrupted, an address has ended) makes the exit code 1; a *note* is to know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
from pydantic import BaseModel, Field

from curator.annotate.label_studio import project as projects
from curator.annotate.label_studio.client import LabelStudio
from curator.annotate.label_studio.connect import connect
from curator.annotate.label_studio.labeling_page import labeling_config
from curator.annotate.previews.sources import previews
from curator.annotate.pull.every_project import chosen
from curator.annotate.pull.run import standing_of
from curator.caption_sets.acceptance import Agreement, agreement
from schemas.errors import AmatlError

if TYPE_CHECKING:
    from curator.catalog import Catalog

WARN_BEFORE = timedelta(days=7)
SHOWN = 5
IMAGE_SERVER_TIMEOUT_SECONDS = 5.0


class Remark(BaseModel):
    """Something to know or to put right."""

    level: Literal["problem", "note"]
    message: str


class PersonProgress(BaseModel):
    """One person's answers in a project, as far as they were pulled."""

    person: str
    tasks: int
    accepted: int = Field(description="Captions taken as they were proposed, word for word.")
    edited: int
    rejected: int = Field(description="Images rejected.")
    without_caption: int = Field(description="Skipped, emptied, unreadable.")
    median_seconds: float | None = Field(description="Time on the page, over captions and rejections.")
    last_at: str


class ProjectStatus(BaseModel):
    """One project."""

    target: str
    title: str
    model_version: str
    url: str
    project: int
    rule: str
    pushed_at: str
    pulled_at: str | None
    tasks: int = Field(description="That should be there.")
    tasks_gone: int = Field(description="Deleted there; what was answered on them stays here.")
    images_answered: int = Field(description="Images that an annotation speaks for.")
    images_rejected: int
    annotations: dict[str, int] = Field(description="As they stand, by outcome.")
    to_pull: int | None = Field(description="Annotations there that aren't here yet; null: can't be told.")
    drafts: int | None = Field(description="Tasks with a draft: work that isn't submitted yet; null: can't be told.")
    captions: int
    uncommitted: int
    people: list[PersonProgress] = Field(description="Who answered most first.")
    agreement: Agreement | None
    disagreements: int = Field(description="Images on which people's last answers differ, not settled yet.")
    emptied: list[str] = Field(description="Some tasks whose caption was emptied: their addresses.")
    images_until: str | None = Field(description="When the first address of an image ends.")
    remarks: list[Remark]


class StatusResult(BaseModel):
    """All projects."""

    projects: list[ProjectStatus]
    healthy: bool = Field(description="No problem was found; notes may have been.")


def status(catalog: Catalog, url: str | None = None, dataset: str | None = None) -> StatusResult:
    """Return the status of every project, or of a dataset's. Raise NotFound if nothing was pushed."""
    found = [_status(catalog, record, url) for record in chosen(catalog, dataset, None)]
    healthy = all(remark.level == "note" for project in found for remark in project.remarks)
    return StatusResult(projects=found, healthy=healthy)


def _status(catalog: Catalog, record: Mapping[str, Any], url: str | None) -> ProjectStatus:
    key, dataset, target_set = record["project_key"], record["dataset"], record["target_set"]
    tasks = catalog.annotation_tasks(key)
    alive = tasks.filter(~pl.col("gone"))
    answered = catalog.answered_images(dataset, target_set, record["title"])
    outcomes: dict[str, int] = {}
    for row in catalog.annotation_counts(key):
        outcomes[row["outcome"]] = outcomes.get(row["outcome"], 0) + row["annotations"]
    until = alive["expires_at"].min()
    remarks = [*_of_push(record), *_of_addresses(alive), *_of_images(catalog, record)]
    live, said = _live(catalog, record, url, alive.height)
    captions, uncommitted = standing_of(catalog, dataset, target_set)
    return ProjectStatus(
        target=f"{dataset}/{target_set}",
        title=record["title"],
        model_version=record["model_version"],
        url=record["url"],
        project=record["label_studio_id"],
        rule=record["rule"] or "latest",
        pushed_at=record["pushed_at"],
        pulled_at=record["pulled_at"],
        tasks=alive.height,
        tasks_gone=tasks.height - alive.height,
        images_answered=answered.height,
        images_rejected=int((answered["verdict"] == "reject").sum()),
        annotations=outcomes,
        captions=captions,
        uncommitted=uncommitted,
        people=[PersonProgress(**row) for row in catalog.annotation_progress(key)],
        agreement=agreement(catalog, dataset, target_set),
        disagreements=catalog.annotation_disagreements(dataset, target_set)["image_sha256"].n_unique(),
        emptied=_emptied(catalog, record),
        images_until=str(until) if until else None,
        remarks=[*remarks, *said],
        **live,
    )


def _of_push(record: Mapping[str, Any]) -> Iterator[Remark]:
    if not record["done"]:
        yield _problem(
            f"The last push ({record['pushed_at'][:16]}) was interrupted: run it again, it goes on from there."
        )


def _of_addresses(alive: Any) -> Iterator[Remark]:
    """Yield remarks on images' URLs that end soon or have ended."""
    now = datetime.now(UTC)
    times = [datetime.fromisoformat(text) for text in alive["expires_at"]]
    ended = sum(moment <= now for moment in times)
    soon = sum(now < moment <= now + WARN_BEFORE for moment in times)
    if ended:
        yield _problem(f"The images of {ended:,} tasks can't be seen any more, their addresses have ended: push again.")
    if soon:
        first = min(moment for moment in times if moment > now)
        yield _note(f"The images of {soon:,} tasks can be seen until {first:%Y-%m-%d} only: push again to renew them.")


def _of_images(catalog: Catalog, record: Mapping[str, Any]) -> Iterator[Remark]:
    """Yield a problem if the previews aren't served, or are another catalog's."""
    import httpx

    url = record["images_url"]
    try:
        answer = httpx.get(f"{url}/healthz", timeout=IMAGE_SERVER_TIMEOUT_SECONDS, trust_env=False)
        served = answer.json().get("key_id") if answer.is_success else None
    except (httpx.HTTPError, ValueError):
        served = None
    if served is None:
        yield _problem(f"The previews aren't served at {url}: annotators see no images. Run: curator annotate start")
    elif served != previews(catalog, {}).key_id:
        yield _problem(
            f"{url} serves the previews of another catalog: annotators see no images. Push with --images-url."
        )


def _live(
    catalog: Catalog, record: Mapping[str, Any], url: str | None, tasks: int
) -> tuple[dict[str, int | None], list[Remark]]:
    """Return the counts and remarks that only Label Studio knows."""
    try:
        with connect(Path(catalog.name), url, record["url"]) as client:
            return _ask(catalog, client, record, tasks)
    except AmatlError as error:
        return {"to_pull": None, "drafts": None}, [_problem(str(error))]


def _ask(
    catalog: Catalog, client: LabelStudio, record: Mapping[str, Any], tasks: int
) -> tuple[dict[str, int | None], list[Remark]]:
    there = projects.here(client, record)
    number = projects.number_of(there)
    totals = client.totals(number)
    said = []
    if projects.config_sha256(there.label_config or "") != projects.config_sha256(labeling_config()):
        said.append(_problem("The labeling page isn't ours any more: push puts it back."))
    if not there.show_collab_predictions or there.model_version != record["model_version"]:
        said.append(_problem(f"Annotators don't see the captions of {record['model_version']}: push puts that right."))
    if totals["total"] != tasks:
        what = "Those deleted are noted by pull; push sends them again unless they were answered."
        if totals["total"] > tasks:
            what = "Push takes up what is of this dataset; the rest is left alone."
        said.append(_note(f"{totals['total']:,} tasks are there, {tasks:,} were sent. {what}"))
    here = sum(catalog.annotated_tasks(record["project_key"]).values())
    waiting = max(totals["total_annotations"] - here, 0)
    if waiting and totals["total"] > tasks:
        waiting = max(_annotations(client, number, record["dataset"]) - here, 0)
    drafts = client.count(number, ("draft_exists", "equal", True, "Boolean"))
    return {"to_pull": waiting, "drafts": drafts}, said


def _annotations(client: LabelStudio, number: int, dataset: str) -> int:
    """Return the number of annotations on tasks of the dataset: those on other tasks are never pulled."""
    pages = client.tasks(number, "data,total_annotations", ("total_annotations", "greater", 0, "Number"))
    ours = (raw for page in pages for raw in page if (raw.get("data") or {}).get("dataset") == dataset)
    return sum(int(raw["total_annotations"]) for raw in ours)


def _emptied(catalog: Catalog, record: Mapping[str, Any]) -> list[str]:
    tasks = catalog.emptied_tasks(record["project_key"])[:SHOWN]
    return [f"{record['url']}/projects/{record['label_studio_id']}/data?task={task_id}" for task_id in tasks]


def _problem(message: str) -> Remark:
    return Remark(level="problem", message=message)


def _note(message: str) -> Remark:
    return Remark(level="note", message=message)
