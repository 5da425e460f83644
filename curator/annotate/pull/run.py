"""Pull annotations from Label Studio: every revision seen becomes one revision in the catalog.

Changes are read by their time, from a little before the last one seen; known revisions are skipped. A page of tasks and
the time it reaches are written in one transaction: a pull that ends early has kept whole pages and goes on from there.
The outcome of each kind of answer: curator.annotate.pull.revisions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
from pydantic import BaseModel, Field

from curator.annotate.label_studio import project as projects
from curator.annotate.label_studio.client import TIME_FORMAT, Condition, LabelStudio
from curator.annotate.label_studio.labeling_page import labeling_config
from curator.annotate.pull.record import Recorder
from curator.annotate.pull.revisions import Revision, Rule, exact, revisions_of
from curator.caption_sets.reference import resolve
from curator.caption_sets.versions import versions
from schemas.errors import AmatlError
from schemas.progress import Progress, silent

if TYPE_CHECKING:
    from label_studio_sdk.types.lse_project_response import LseProjectResponse

    from curator.catalog import Catalog

OVERLAP = timedelta(seconds=60)  # a change may be written after a later one: they carry the time they began
SWEEP_EVERY = timedelta(days=1)
# Label Studio applies this list to tasks and to the annotations in them alike.
INCLUDE = (
    "id,updated_at,data,annotations,predictions,"
    "result,completed_by,updated_by,was_cancelled,created_at,lead_time,parent_prediction"
)


class PullResult(BaseModel):
    """The result of pulling one project: what was new."""

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
        """Return whether anything was new."""
        return bool(self.new or self.edited or self.deleted or self.tasks_gone or self.images)


def pull(
    catalog: Catalog,
    client: LabelStudio,
    record: Mapping[str, Any],
    rule: Rule | None = None,
    person: str = "",
    progress: Progress = silent,
) -> PullResult:
    """Pull one project (`record`: a row of `Catalog.annotation_projects`).

    `rule`: which of several annotations speaks for an image; None: the last pull's, else the latest. Raise
    LabelStudioFailed; after any error the same call goes on from there.
    """
    there = projects.here(client, record)
    last_rule = Rule.parse(record["rule"]) if record["rule"] else None
    rule = rule or last_rule or Rule()
    reader = _Reader(
        catalog, client, record, projects.number_of(there), Recorder(catalog, record, rule, person), progress
    )
    reader.run(settle_all=last_rule is not None and rule != last_rule)
    return reader.result(rule, _problem(there, record), _notes(catalog, record, rule))


def _problem(there: LseProjectResponse, record: Mapping[str, Any]) -> str | None:
    config = projects.config_sha256(there.label_config or "")
    if config in (record["config_sha256"], projects.config_sha256(labeling_config())):
        return None
    return (
        f"The labeling config of project {there.id} was changed by hand. Answers that can't be read are kept as "
        f"they came and counted. Put it back with: curator annotate push {record['dataset']} --set "
        f"{record['model_version'].partition('/')[2]} --to {record['target_set']}"
    )


def _notes(catalog: Catalog, record: Mapping[str, Any], rule: Rule) -> list[str]:
    """Return a note if the reviewer hasn't answered anything: the name may be mistyped."""
    people = sorted(set(catalog.annotation_people(record["project_key"]).values()))
    if rule.reviewer is None or not people or any(map(rule.is_reviewer, people)):
        return []
    return [f"{rule.reviewer} hasn't answered in this project, so the latest holds. These have: {', '.join(people)}."]


class _Reader:
    """Reads one project page by page, and passes what is new to the recorder."""

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
        """Read what changed, look for deleted tasks, and record how far it came."""
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
        """Read what changed since the watermark; at the first pull, everything answered."""
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
        """Read every task that has or had an annotation: a clock set back hides changes."""
        self.answered()
        had = sorted(self.catalog.annotated_tasks(self.record["project_key"]).keys() - self.seen)
        for page in self.client.tasks_by_id(self.number, had, INCLUDE):
            self.page(page)

    def answered(self, *conditions: Condition) -> None:
        """Read the tasks with an annotation or a skip that match the conditions."""
        for field in ("total_annotations", "cancelled_annotations"):
            for page in self.client.tasks(self.number, INCLUDE, *conditions, (field, "greater", 0, "Number")):
                self.page(page)

    def standing(self) -> int:
        """Return how many annotations Label Studio should have, without skips."""
        return sum(self.catalog.annotated_tasks(self.record["project_key"]).values())

    def page(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Record the new revisions on a page of tasks."""
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
        """Count revisions by outcome."""
        for revision in revisions:
            if revision.outcome == "deleted":
                self.counts["deleted"] += 1
            else:
                self.counts["edited" if revision.annotation_id in known else "new"] += 1
                self.outcomes[revision.outcome] += 1

    def known(self, task_ids: Sequence[int]) -> dict[int, dict[int, dict[str, Any]]]:
        """Return the known annotations of these tasks, by task and annotation."""
        rows = pl.DataFrame({"task_id": task_ids}, schema={"task_id": pl.Int64})
        found: dict[int, dict[int, dict[str, Any]]] = {}
        for row in self.catalog.annotations_of_tasks(self.record["project_key"], rows).iter_rows(named=True):
            found.setdefault(row["task_id"], {})[row["annotation_id"]] = row
        return found

    def image(self, task: Mapping[str, Any]) -> str | None:
        """Return the image of a task: as it was sent, else as its data says if that is in the dataset."""
        if image := self.image_of.get(task["id"]):
            return image
        if self.in_dataset is None:
            self.in_dataset = set(self.catalog.images_of_dataset(self.record["dataset"])["image_sha256"])
        data = task.get("data") or {}
        ours = data.get("dataset") == self.record["dataset"] and data.get("image_sha256") in self.in_dataset
        return str(data["image_sha256"]) if ours else None

    def proposed(self, model_version: str, image_sha256: str) -> int | None:
        """Return the caption_id that a version has for an image, or None if the version isn't in this catalog."""
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
        """Return a person's login. A removed person keeps the one last known."""
        if self.people is None:
            last_known = self.catalog.annotation_people(self.record["project_key"])
            self.people = last_known | self.client.people()
        return self.people.get(person_id)

    def gone(self, total: int) -> set[int] | None:
        """Return the tasks deleted there, or None if there was no reason to look."""
        looked = max(self.record["swept_at"] or "", self.record["pushed_at"] or "")
        lately = looked and datetime.fromisoformat(looked) > datetime.now(UTC) - SWEEP_EVERY
        if lately and total >= len(self.alive):
            return None
        there = {task["id"] for page in self.client.tasks(self.number, "id", page_size=2_000) for task in page}
        return self.alive - there

    def contested(self) -> list[str]:
        """Return the images that another rule may decide otherwise."""
        found = self.catalog.contested_images(self.record["dataset"], self.record["target_set"])
        return list(found["image_sha256"])

    def result(self, rule: Rule, problem: str | None, notes: list[str]) -> PullResult:
        """Return what was seen, and the counts of the set."""
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
    """Return the number of captions in a set, and how many of them its latest version lacks."""
    sets = catalog.caption_sets().select("dataset", "set_name").rows()
    if (dataset, target_set) not in sets:
        return 0, 0
    found = versions(catalog, f"{dataset}/{target_set}").sets[0]
    return found.captions, found.uncommitted
