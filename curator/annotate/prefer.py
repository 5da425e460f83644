"""`curator annotate prefer`: people compare captions blind; which strategy do they prefer, and how sure is that?

The same command again adds what is missing, renews addresses of pictures, reads every answer back and counts. Each task
shows the texts of all versions in an order drawn by hash of (comparison, image), and no names.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from curator.annotate import prefer_page
from curator.annotate.client import LabelStudio, NotThere, Uncertain
from curator.annotate.images import load_key, make_previews, preview_folder, signed_url
from curator.annotate.prefer_figures import Agreement, Given, Pair, PersonFigures, agreement, first_place, pairs, people
from curator.reference import Reference, resolve, set_versions
from schemas.errors import BadOption, NotFound
from schemas.progress import Progress, silent

if TYPE_CHECKING:
    from curator.catalog import Catalog

MARK = "amatl-prefer:"
BATCH = 500
DAYS = 90
LIMIT = 100
# Label Studio applies the list to tasks and to the annotations in them alike.
FIELDS = "data,annotations,result,completed_by,was_cancelled,lead_time,updated_at"
RENEW_WITHIN = timedelta(days=14)


class PreferResult(BaseModel):
    """How a comparison stands."""

    dataset: str
    versions: list[str]
    project: int = Field(description="Its number in Label Studio.")
    project_url: str
    images: int = Field(description="Asked: each shows every version's caption.")
    sent: int = Field(description="Of these, new in this run.")
    same_text: int = Field(description="Images not asked, since all versions say the same there.")
    without_caption: int = Field(description="Images not asked, since a version has no caption of them.")
    without_preview: dict[str, int] = Field(default_factory=dict, description="Images not asked, by reason.")
    answered: int = Field(description="Images with an answer.")
    answers: int = Field(description="Of all people; skips aside.")
    skipped: int
    unreadable: int = Field(description="Answers that say nothing: the page had been changed in Label Studio.")
    pairs: list[Pair]
    people: list[PersonFigures]
    agreement: Agreement | None
    first_place: float | None = Field(description="Share of choices on the candidate shown first: a check for bias.")
    notes: list[str] = Field(default_factory=list)


@dataclass
class Comparison:
    """One comparison as the catalog knows it, and what its versions say. `texts`: by version, by image."""

    catalog: Catalog
    client: LabelStudio
    dataset: str
    texts: dict[str, dict[str, str]]
    person: str
    key: str = ""
    number: int = 0
    shown: dict[int, tuple[str, list[str]]] = field(default_factory=dict)  # by task: image, versions in order
    notes: list[str] = field(default_factory=list)

    @property
    def versions(self) -> list[str]:
        """dataset/set@n, sorted."""
        return sorted(self.texts)

    def order(self, image_sha256: str) -> list[str]:
        """The versions as a task of this image shows them."""
        return sorted(
            self.versions,
            key=lambda version: hashlib.sha256(f"{self.key} {image_sha256} {version}".encode()).digest(),
        )

    def captions(self, image_sha256: str) -> list[str]:
        """Their texts, in that order."""
        return [self.texts[version][image_sha256] for version in self.order(image_sha256)]


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
    """Brings a comparison up to date and counts the answers.

    `sets`: two to six committed versions, or sets of which the latest counts. Of the images that can be asked `limit`
    are drawn by hash; one that has been asked stays. Raises NotFound, BadOption, LabelStudioFailed; the same call goes
    on from wherever it was interrupted.
    """
    references = _versions(catalog, dataset, sets)
    comparison = Comparison(catalog, client, dataset, _texts(catalog, references), person)
    _find_or_make(comparison, annotators)
    _read_tasks(comparison)
    candidates, same_text, without = _images(comparison, condition)
    chosen = _draw(comparison, candidates, limit)
    address = Address(images_url, datetime.now(UTC) + timedelta(days=days), preview_folder(catalog.path))
    paths = dict(catalog.images_of_dataset(dataset).select("image_sha256", "path").iter_rows())
    sent, without_preview = _send(comparison, chosen, address, paths, progress)
    _read_back(comparison, address, progress)
    return _result(comparison, sent, same_text, without, without_preview)


@dataclass(frozen=True)
class Address:
    """Where pictures are, and until when their addresses hold."""

    images_url: str
    expires_at: datetime
    folder: Path

    def of(self, image_sha256: str) -> str:
        """Signed."""
        return signed_url(self.images_url, image_sha256, self.expires_at, load_key(self.folder))

    def is_good(self, url: str, image_sha256: str) -> bool:
        """Whether a task's address is one of ours that holds for a while."""
        expires = url.partition("?expires=")[2].partition("&")[0]
        if not expires.isdecimal():
            return False
        until = datetime.fromtimestamp(int(expires), UTC)
        ours = signed_url(self.images_url, image_sha256, until, load_key(self.folder)) == url
        return ours and (until > datetime.now(UTC) + RENEW_WITHIN or until >= self.expires_at)


def _versions(catalog: Catalog, dataset: str, sets: Sequence[str]) -> list[Reference]:
    """Committed versions; the latest where none is named."""
    if dataset not in (names := catalog.dataset_names()):
        raise NotFound(f"There is no dataset {dataset!r}. There are: {', '.join(names) or 'none yet: curator ingest'}.")
    found = []
    for name in sets:
        reference = resolve(catalog, name if "/" in name else f"{dataset}/{name}")
        if reference.dataset != dataset:
            raise BadOption(f"--sets {name}: is of the dataset {reference.dataset}, not of {dataset}.")
        if reference.number is None:
            versions = set_versions(catalog, reference.dataset, reference.set_name)
            if not versions:
                raise BadOption(
                    f'--sets {name}: has no version yet. Make one with: curator commit {reference} -m "..."'
                )
            reference = Reference.model_validate(versions[-1])
        found.append(reference)
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


def _find_or_make(comparison: Comparison, annotators: int | None) -> None:
    """Our project there; its key is noted here before it is made, so that an interrupted run finds it again."""
    catalog, client = comparison.catalog, comparison.client
    known = [
        row
        for row in catalog.preference_projects().iter_rows(named=True)
        if row["dataset"] == comparison.dataset and json.loads(row["versions"]) == comparison.versions
    ]
    record = known[-1] if known else None
    found = _look(client, record, _title(comparison)) if record else None
    if record and found is None and record["label_studio_id"] is not None:
        comparison.notes.append(
            "The project of this comparison is gone from Label Studio; a new one was begun. Its answers are kept here."
        )
        record = None
    comparison.key = record["project_key"] if record else secrets.token_hex(16)
    if record is None:
        _note(comparison, None, None)
    comparison.number = found if found is not None else client.create_project(_settings(comparison))
    if record is None or record["label_studio_id"] != comparison.number or record["url"] != client.url:
        _note(comparison, client.url, comparison.number)
    _settle(comparison, annotators)


def _look(client: LabelStudio, record: Mapping[str, Any], title: str) -> int | None:
    """The project that carries the key, wherever it is."""
    mark = MARK + record["project_key"][:8]
    if record["label_studio_id"] is not None:
        with suppress(NotThere):
            if mark in (client.project(record["label_studio_id"]).get("description") or ""):
                return int(record["label_studio_id"])
    titled = client.projects_titled(title)
    return next((int(found["id"]) for found in titled if mark in (found.get("description") or "")), None)


def _note(comparison: Comparison, url: str | None, number: int | None) -> None:
    comparison.catalog.add_preference_project(
        comparison.key, comparison.dataset, comparison.versions, url, number, comparison.person
    )


def _title(comparison: Comparison) -> str:
    return f"{comparison.dataset}: which caption?"


def _settings(comparison: Comparison) -> dict[str, Any]:
    """Names no version: people must not know. The mark is a part of the key, too little to tell the order by."""
    count = len(comparison.versions)
    return {
        "title": _title(comparison),
        "description": f"Captions compared blind. {MARK}{comparison.key[:8]}",
        "label_config": prefer_page.labeling_config(count),
        "expert_instruction": prefer_page.instructions(count),
        "show_instruction": True,
    }


def _settle(comparison: Comparison, annotators: int | None) -> None:
    there, ours = comparison.client.project(comparison.number), _settings(comparison)
    changes: dict[str, Any] = {}
    if "".join((there.get("label_config") or "").split()) != "".join(ours["label_config"].split()):
        changes["label_config"] = ours["label_config"]
        comparison.notes.append("The page had been changed by hand in Label Studio; it was put back.")
    if annotators is not None and there.get("maximum_annotations") != annotators:
        changes["maximum_annotations"] = annotators
    if changes:
        comparison.client.update_project(comparison.number, changes)


def _read_tasks(comparison: Comparison) -> None:
    """What is there and not on record (an interrupted run sent it) is taken over; nothing is sent twice."""
    rows = comparison.catalog.preference_tasks(comparison.key).iter_rows()
    on_record = {task_id: (image, json.loads(shown)) for task_id, image, shown in rows}
    there: dict[int, str] = {}
    for page in comparison.client.tasks(comparison.number, "data"):
        there |= {int(task["id"]): str((task.get("data") or {}).get("image_sha256")) for task in page}
    known = {image for task, (image, _) in on_record.items() if task in there}
    found = {task: image for task, image in there.items() if task not in on_record and image not in known}
    comparison.shown = {task: what for task, what in on_record.items() if task in there}
    _record_tasks(comparison, {task: image for task, image in found.items() if _is_asked(comparison, image)})
    lost = len(on_record) - len(comparison.shown)
    if lost:
        comparison.notes.append(f"{lost} tasks were deleted in Label Studio; their images are asked anew.")


def _is_asked(comparison: Comparison, image: str) -> bool:
    return all(image in texts for texts in comparison.texts.values())


def _record_tasks(comparison: Comparison, tasks: Mapping[int, str]) -> None:
    import polars as pl

    if not tasks:
        return
    rows = [
        {"task_id": task, "image_sha256": image, "shown": json.dumps(comparison.order(image))}
        for task, image in tasks.items()
    ]
    comparison.catalog.add_preference_tasks(comparison.key, pl.DataFrame(rows))
    comparison.shown |= {task: (image, comparison.order(image)) for task, image in tasks.items()}


def _images(comparison: Comparison, condition: str | None) -> tuple[list[str], int, int]:
    """The images to choose from; how many all versions say the same of, how many lack a caption."""
    from curator.where import images_where

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
    """Images to add, so that `limit` are asked: drawn by hash, so the same whatever was ingested since."""
    asked = {image for image, _ in comparison.shown.values()}
    drawn = sorted(
        (image for image in candidates if image not in asked),
        key=lambda image: hashlib.sha256(f"{comparison.key} {image}".encode()).digest(),
    )
    return drawn[: max(0, limit - len(asked))]


def _send(
    comparison: Comparison, images: Sequence[str], address: Address, paths: Mapping[str, str], progress: Progress
) -> tuple[int, dict[str, int]]:
    """Sends tasks for images, each batch noted before the next; how many, and what has no preview, by reason."""
    reasons: dict[str, int] = {}
    for error in make_previews([(Path(paths[image]), image) for image in images], address.folder, progress=progress):
        reasons[str(error)] = reasons.get(str(error), 0) + 1
    ready = [image for image in images if (address.folder / image[:2] / f"{image}.jpg").is_file()]
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


def _read_back(comparison: Comparison, address: Address, progress: Progress) -> None:
    """Every revision of every answer goes into the catalog; addresses of pictures that end soon are renewed."""
    import polars as pl

    before = {row["annotation_id"]: row for row in _answers(comparison)}
    names, rows, seen, done = comparison.client.people(), [], set[int](), 0
    for page in comparison.client.tasks(comparison.number, FIELDS):
        for task in page:
            if task["id"] not in comparison.shown:
                continue
            image, _ = comparison.shown[task["id"]]
            if not address.is_good(str(task["data"].get("image")), image):
                comparison.client.update_task(task["id"], task["data"] | {"image": address.of(image)})
            for annotation in task.get("annotations") or []:
                seen.add(annotation["id"])
                row = _row(annotation, int(task["id"]), image, len(comparison.versions), names)
                if before.get(annotation["id"]) != row:
                    rows.append(row)
        done += len(page)
        progress("reading answers", done, len(comparison.shown))
    gone = [row | {"outcome": "deleted", "place": None} for number, row in before.items() if number not in seen]
    rows += [row for row in gone if before[row["annotation_id"]]["outcome"] != "deleted"]
    if rows:
        frame = pl.DataFrame(rows, schema=_answer_columns())
        comparison.catalog.add_preference_answers(comparison.key, frame)


def _answer_columns() -> dict[str, Any]:
    import polars as pl

    return {
        "task_id": pl.Int64,
        "annotation_id": pl.Int64,
        "image_sha256": pl.String,
        "outcome": pl.String,
        "place": pl.Int32,
        "person": pl.String,
        "lead_time_seconds": pl.Float64,
        "updated_at": pl.String,
    }


def _answers(comparison: Comparison) -> list[dict[str, Any]]:
    return list(comparison.catalog.preference_answers(comparison.key).iter_rows(named=True))


def _row(
    annotation: Mapping[str, Any], task: int, image: str, candidates: int, names: Mapping[int, str]
) -> dict[str, Any]:
    outcome, place = prefer_page.read_answer(annotation, candidates)
    by = annotation.get("completed_by")
    by = by.get("id") if isinstance(by, Mapping) else by
    lead_time = annotation.get("lead_time")
    return {
        "task_id": task,
        "annotation_id": annotation["id"],
        "image_sha256": image,
        "outcome": outcome,
        "place": place,
        "person": names.get(by) or f"user {by}" if by is not None else "somebody removed",
        "lead_time_seconds": None if lead_time is None else float(lead_time),
        "updated_at": str(annotation.get("updated_at")),
    }


def _given(comparison: Comparison, rows: Iterable[Mapping[str, Any]]) -> list[Given]:
    """One answer a person and image: their last."""
    last: dict[tuple[str, str], Given] = {}
    shown = {
        task: json.loads(order) for task, _, order in comparison.catalog.preference_tasks(comparison.key).iter_rows()
    }
    for row in sorted(rows, key=lambda row: row["updated_at"]):
        image, order = row["image_sha256"], shown[row["task_id"]]
        texts = {version: comparison.texts[version][image] for version in order}
        chosen = texts[order[row["place"]]] if row["outcome"] == "chosen" else None
        seconds = row["lead_time_seconds"]
        last[image, row["person"]] = Given(image, row["person"], texts, chosen, row["place"], seconds)
    return list(last.values())


def _result(
    comparison: Comparison, sent: int, same_text: int, without: int, without_preview: dict[str, int]
) -> PreferResult:
    rows = _answers(comparison)
    given = _given(comparison, [row for row in rows if row["outcome"] in ("chosen", "same")])
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
        answered=len({answer.image_sha256 for answer in given}),
        answers=len(given),
        skipped=sum(row["outcome"] == "skipped" for row in rows),
        unreadable=sum(row["outcome"] == "unreadable" for row in rows),
        pairs=pairs(comparison.versions, given),
        people=people(comparison.versions, given),
        agreement=agreement(given),
        first_place=first_place(given),
        notes=comparison.notes,
    )
