"""Brings people's work back from Label Studio: every revision seen, as a revision in the catalog, once.

Changes are read by their time, from a little before the last one seen; what is known already is passed over. A page of
tasks is one transaction with the time it reaches to: a pull that ends early, however, has kept whole pages and goes on
from there. What becomes of each kind of answer: curator.annotate.revisions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
from pydantic import BaseModel, Field

from curator.annotate import project as projects
from curator.annotate.client import TIME_FORMAT, Condition, LabelStudio
from curator.annotate.labeling_page import labeling_config
from curator.annotate.record import Recorder
from curator.annotate.revisions import Revision, Rule, exact, revisions_of
from curator.annotate.tasks import by_ids
from curator.caption_sets.reference import resolve
from curator.caption_sets.versions import versions
from schemas.errors import AmatlError
from schemas.progress import Progress, silent

if TYPE_CHECKING:
    from curator.catalog import Catalog

OVERLAP = timedelta(seconds=60)  # a change may be written after a later one: they carry the time they began
SWEEP_EVERY = timedelta(days=1)
# What is named here is told of tasks, and of the annotations in them: Label Studio applies the list to both.
INCLUDE = (
    "id,updated_at,data,annotations,predictions,"
    "result,completed_by,updated_by,was_cancelled,created_at,lead_time,parent_prediction"
)


class PullResult(BaseModel):
    """What a pull of one project saw that it hadn't seen."""

    target: str = Field(description="dataset/set.")
    project: int = Field(description="The project's number in Label Studio.")
    project_url: str
    rule: str
    tasks: int = Field(default=0, description="Tasks that were looked at.")
    new: int = Field(default=0, description="Annotations.")
    edited: int = 0
    deleted: int = 0
    outcomes: dict[str, int] = Field(default_factory=dict, description="Of the new and edited ones.")
    images: int = Field(default=0, description="Images that another annotation speaks for now.")
    tasks_gone: int = Field(default=0, description="Tasks deleted there; their annotations stay here.")
    strangers: int = Field(default=0, description="Tasks there that aren't of this dataset, passed over.")
    captions: int = Field(default=0, description="Captions of the set now.")
    uncommitted: int = Field(default=0, description="Captions that differ from the set's latest version.")
    notes: list[str] = Field(default_factory=list, description="What to know; nothing has to be put right.")
    problem: str | None = Field(default=None, description="What has to be put right; the pull itself was whole.")

    @property
    def changed(self) -> bool:
        """Whether there was anything."""
        return bool(self.new or self.edited or self.deleted or self.tasks_gone or self.images)


def pull(
    catalog: Catalog,
    client: LabelStudio,
    record: Mapping[str, Any],
    rule: Rule | None = None,
    person: str = "",
    progress: Progress = silent,
) -> PullResult:
    """Pulls one project (`record`: a row of `Catalog.annotation_projects`).

    `rule`: which of several annotations speaks for an image; None: as at the last pull, else the latest. Raises
    LabelStudioFailed; whatever it raises, the same call goes on from there.
    """
    there = projects.here(client, record)
    last_rule = Rule.parse(record["rule"]) if record["rule"] else None
    rule = rule or last_rule or Rule()
    reader = _Reader(catalog, client, record, int(there["id"]), Recorder(catalog, record, rule, person), progress)
    reader.run(settle_all=last_rule is not None and rule != last_rule)
    return reader.result(rule, _problem(there, record), _notes(catalog, record, rule))


def _problem(there: Mapping[str, Any], record: Mapping[str, Any]) -> str | None:
    config = projects.config_sha256(there.get("label_config") or "")
    if config in (record["config_sha256"], projects.config_sha256(labeling_config())):
        return None
    return (
        f"The labeling config of project {there['id']} was changed by hand. Answers that can't be read are kept as "
        f"they came and counted. Put it back with: curator annotate push {record['dataset']} --set "
        f"{record['model_version'].partition('/')[2]} --to {record['target_set']}"
    )


def _notes(catalog: Catalog, record: Mapping[str, Any], rule: Rule) -> list[str]:
    """A reviewer of whom nothing was seen may be a slip of the keyboard."""
    people = sorted(set(catalog.annotation_people(record["project_key"]).values()))
    if rule.reviewer is None or not people or any(map(rule.is_reviewer, people)):
        return []
    return [f"{rule.reviewer} hasn't answered in this project, so the latest holds. These have: {', '.join(people)}."]


class _Reader:
    """One pull of one project: reads pages, hands what is new to the recorder."""

    def __init__(
        self,
        catalog: Catalog,
        client: LabelStudio,
        record: Mapping[str, Any],
        number: int,
        recorder: Recorder,
        progress: Progress,
    ) -> None:
        self.catalog, self.client, self.record, self.number = catalog, client, record, number
        self.recorder, self.progress = recorder, progress
        self.watermark: str | None = record["watermark"]
        self.counts: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.images_changed = 0
        self.seen: set[int] = set()
        self.strangers: set[int] = set()
        self.parents: dict[str, dict[str, int]] = {}
        self.people: dict[int, str] | None = None
        rows = catalog.annotation_tasks(record["project_key"])
        self.image_of: dict[int, str] = dict(rows.select("task_id", "image_sha256").iter_rows())
        self.alive = set(rows.filter(~rows["gone"])["task_id"])
        self.in_dataset: set[str] | None = None

    def run(self, settle_all: bool) -> None:
        """Reads what changed, looks for deleted tasks, and notes how far it came."""
        self.changes()
        totals = self.client.totals(self.number)
        if totals["total_annotations"] != self.standing():  # or somebody was faster: look once more before all is read
            self.changes()
            totals = self.client.totals(self.number)
            if totals["total_annotations"] != self.standing():
                self.everything()
        gone = self.gone(totals["total"])
        settle = self.contested() if settle_all else []
        self.images_changed += self.recorder.write(
            [], self.watermark, settle, gone or (), swept=gone is not None, counts=self.counts
        )
        self.counts["tasks_gone"] = len(gone or ())

    def changes(self) -> None:
        """Reads what changed since the watermark; at the first pull what was answered at all."""
        if self.watermark is None:
            newest = self.client.newest_change(self.number)
            self.everything()
            self.watermark = newest
            return
        since = (datetime.fromisoformat(self.watermark) - OVERLAP).strftime(TIME_FORMAT)
        between = (
            ("updated_at", "greater_or_equal", since, "Datetime"),
            ("updated_at", "less", self.watermark, "Datetime"),
        )
        self.answered(*between)  # not the rest: after a push of many tasks that would be all of them
        for page in self.client.tasks_since(self.number, INCLUDE, self.watermark):
            self.watermark = max(self.watermark, exact(page[-1]["updated_at"]))
            self.page(page)

    def everything(self) -> None:
        """Reads every task that has an annotation, and every one that had one: a clock set back hides changes."""
        self.answered()
        had = sorted(self.catalog.annotated_tasks(self.record["project_key"]).keys() - self.seen)
        for page in by_ids(self.client, self.number, had, INCLUDE):
            self.page(page)

    def answered(self, *conditions: Condition) -> None:
        """Reads the tasks with an annotation, or a skip, that the conditions hold for."""
        for field in ("total_annotations", "cancelled_annotations"):
            for page in self.client.tasks(self.number, INCLUDE, *conditions, (field, "greater", 0, "Number")):
                self.page(page)

    def standing(self) -> int:
        """How many annotations Label Studio should have, skips aside."""
        return sum(self.catalog.annotated_tasks(self.record["project_key"]).values())

    def page(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Takes the new revisions of a page of tasks."""
        known = self.known([task["id"] for task in tasks])
        revisions: list[Revision] = []
        for task in tasks:
            self.seen.add(task["id"])
            if (image := self.image(task)) is None:
                self.strangers.add(task["id"])
                continue
            found = revisions_of(task, image, known.get(task["id"], {}), self.proposed, self.person_of)
            self.count(found, known.get(task["id"], {}))
            revisions += found
        if revisions:
            self.images_changed += self.recorder.write(revisions, self.watermark, counts=self.counts)
        self.progress("pulling", len(self.seen), None, f"{self.counts['new'] + self.counts['edited']} new")

    def count(self, revisions: Sequence[Revision], known: Mapping[int, Any]) -> None:
        """Counts what became of them."""
        for revision in revisions:
            if revision.outcome == "deleted":
                self.counts["deleted"] += 1
            else:
                self.counts["edited" if revision.annotation_id in known else "new"] += 1
                self.outcomes[revision.outcome] += 1

    def known(self, task_ids: Sequence[int]) -> dict[int, dict[int, dict[str, Any]]]:
        """What is known of these tasks' annotations, by task and annotation."""
        rows = pl.DataFrame({"task_id": task_ids}, schema={"task_id": pl.Int64})
        found: dict[int, dict[int, dict[str, Any]]] = {}
        for row in self.catalog.annotations_of_tasks(self.record["project_key"], rows).iter_rows(named=True):
            found.setdefault(row["task_id"], {})[row["annotation_id"]] = row
        return found

    def image(self, task: Mapping[str, Any]) -> str | None:
        """The image of a task: as we sent it, else as its data says, if it is one of the dataset's."""
        if image := self.image_of.get(task["id"]):
            return image
        if self.in_dataset is None:
            self.in_dataset = set(self.catalog.images_of_dataset(self.record["dataset"])["image_sha256"])
        data = task.get("data") or {}
        ours = data.get("dataset") == self.record["dataset"] and data.get("image_sha256") in self.in_dataset
        return str(data["image_sha256"]) if ours else None

    def proposed(self, model_version: str, image_sha256: str) -> int | None:
        """The caption that a version has of an image; None where the version isn't of this catalog."""
        if model_version not in self.parents:
            try:
                version = resolve(self.catalog, model_version)
            except AmatlError:
                self.parents[model_version] = {}
            else:
                texts = self.catalog.caption_texts(version.dataset, version.set_name, version.last_caption_id)
                self.parents[model_version] = dict(texts.select("image_sha256", "caption_id").iter_rows())
        return self.parents[model_version].get(image_sha256)

    def person_of(self, person_id: int) -> str | None:
        """A login; of somebody who was removed the one last known."""
        if self.people is None:
            last_known = self.catalog.annotation_people(self.record["project_key"])
            self.people = last_known | self.client.people()
        return self.people.get(person_id)

    def gone(self, total: int) -> set[int] | None:
        """Tasks that were deleted there; None where there was no reason to look."""
        looked = max(self.record["swept_at"] or "", self.record["pushed_at"] or "")
        lately = looked and datetime.fromisoformat(looked) > datetime.now(UTC) - SWEEP_EVERY
        if lately and total >= len(self.alive):
            return None
        there = {task["id"] for page in self.client.tasks(self.number, "id", page_size=2_000) for task in page}
        return self.alive - there

    def contested(self) -> list[str]:
        """The images that another rule may decide otherwise."""
        found = self.catalog.contested_images(self.record["dataset"], self.record["target_set"])
        return list(found["image_sha256"])

    def result(self, rule: Rule, problem: str | None, notes: list[str]) -> PullResult:
        """What was seen, and how the set stands."""
        captions, uncommitted = standing_of(self.catalog, self.record["dataset"], self.record["target_set"])
        return PullResult(
            target=f"{self.record['dataset']}/{self.record['target_set']}",
            project=self.number,
            project_url=f"{self.client.url}/projects/{self.number}",
            rule=str(rule),
            tasks=len(self.seen),
            new=self.counts["new"],
            edited=self.counts["edited"],
            deleted=self.counts["deleted"],
            outcomes=dict(self.outcomes.most_common()),
            images=self.images_changed,
            tasks_gone=self.counts["tasks_gone"],
            strangers=len(self.strangers),
            captions=captions,
            uncommitted=uncommitted,
            notes=notes,
            problem=problem,
        )


def standing_of(catalog: Catalog, dataset: str, target_set: str) -> tuple[int, int]:
    """How many captions a set has, and how many of them its latest version hasn't."""
    sets = catalog.caption_sets().select("dataset", "set_name").rows()
    if (dataset, target_set) not in sets:
        return 0, 0
    found = versions(catalog, f"{dataset}/{target_set}").sets[0]
    return found.captions, found.uncommitted
