"""Reconcile the tasks in the catalog with those in Label Studio: find what a killed push sent, remove doubles.

Label Studio accepts the same task twice, and an import that timed out may still arrive. So the image's sha256 in a
task's data is its identity: before anything is sent again, and whenever the counts differ, the tasks there are searched
by it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from curator.annotate.label_studio.client import LabelStudio
from curator.annotate.previews.sources import Previews, address
from curator.annotate.push.plan import Material, Task

if TYPE_CHECKING:
    from curator.catalog import Catalog

FULL = "data,predictions,total_annotations,cancelled_annotations,draft_exists"
IDS_A_PAGE = 2_000
ADDRESS = re.compile(r"(?P<base>.+)/previews/[0-9a-f]{64}\.jpg\?expires=(?P<expires>[0-9]{1,11})&")
SHA256 = re.compile(r"[0-9a-f]{64}")
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Ledger:
    """The tasks of one project as the catalog has them, kept in step with what is sent and found."""

    catalog: Catalog
    project_key: str
    dataset: str
    push_id: int
    previews: Previews
    alive: dict[int, Task] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def load(self) -> Ledger:
        """Read the tasks on record; return itself."""
        for row in self.catalog.annotation_tasks(self.project_key).iter_rows(named=True):
            if not row.pop("gone"):
                self.alive[row["task_id"]] = Task(**row | {"expires_at": datetime.fromisoformat(row["expires_at"])})
        return self

    def write(self, tasks: Iterable[Task]) -> None:
        """Record tasks as they are now, in the catalog and here."""
        tasks = list(tasks)
        self._add(tasks, gone=False)
        self.alive |= {task.task_id: task for task in tasks}

    def lose(self, tasks: Iterable[Task]) -> None:
        """Record that Label Studio no longer has these."""
        tasks = list(tasks)
        self._add(tasks, gone=True)
        for task in tasks:
            self.alive.pop(task.task_id, None)

    def _add(self, tasks: Sequence[Task], gone: bool) -> None:
        if tasks:
            times = {task.task_id: task.expires_at.astimezone(UTC).isoformat() for task in tasks}
            rows = [asdict(task) | {"expires_at": times[task.task_id], "gone": gone} for task in tasks]
            self.catalog.add_annotation_tasks(self.project_key, self.push_id, pl.DataFrame(rows))


def reconcile(client: LabelStudio, number: int, ledger: Ledger) -> None:
    """Makes the ledger and the project agree where their numbers of tasks don't: nothing is sent, doubles go."""
    if client.totals(number)["total"] == len(ledger.alive):
        return
    there = {int(task["id"]) for page in client.tasks(number, "id", page_size=IDS_A_PAGE) for task in page}
    lost = [task for task_id, task in ledger.alive.items() if task_id not in there]
    ledger.lose(lost)
    ledger.counts["deleted_there"] += len(lost)
    unknown = sorted(there - ledger.alive.keys())
    adopt(ledger, (task for page in client.tasks_by_id(number, unknown, FULL) for task in page))
    _remove_doubles(client, number, ledger)


def look_for(client: LabelStudio, number: int, ledger: Ledger) -> None:
    """Find what an uncertain import left: tasks newer than all on record."""
    newest = max(ledger.alive, default=0)
    newer = client.tasks(number, FULL, ("id", "greater", newest, "Number"))
    adopt(ledger, [task for page in newer for task in page])


def adopt(ledger: Ledger, found: Iterable[Mapping[str, Any]]) -> None:
    """Record tasks that are there but not in the catalog, if they are of our images."""
    tasks = []
    new = [raw for raw in found if raw["id"] not in ledger.alive]
    _sign_together(new, ledger.previews)
    for raw in new:
        if task := read_task(raw, ledger.dataset, ledger.previews):
            tasks.append(task)
        else:
            ledger.counts["strangers"] += 1
    ledger.write(tasks)
    ledger.counts["found_again"] += len(tasks)


def _sign_together(found: Iterable[Mapping[str, Any]], previews: Previews) -> None:
    """Sign many tasks in one request if each signature costs a round trip."""
    images: dict[datetime, list[str]] = {}
    for raw in found:
        data = raw.get("data") or {}
        image, where = str(data.get("image_sha256")), ADDRESS.match(str(data.get("image")))
        if where and SHA256.fullmatch(image):
            images.setdefault(datetime.fromtimestamp(int(where["expires"]), UTC), []).append(image)
    for expires_at, some in images.items():
        previews.sign(some, expires_at)


def read_task(raw: Mapping[str, Any], dataset: str, previews: Previews) -> Task | None:
    """Return a task as a push would have recorded it, or None if it isn't one of ours."""
    data = raw.get("data") or {}
    image = str(data.get("image_sha256"))
    if not SHA256.fullmatch(image) or data.get("dataset") != dataset:
        return None
    url = str(data.get("image"))
    where = ADDRESS.match(url)
    expires_at = datetime.fromtimestamp(int(where["expires"]), UTC) if where else LONG_AGO
    ours = where and address(previews, where["base"], image, expires_at) == url
    proposed: Mapping[str, Any] = max(raw.get("predictions") or [], key=lambda found: found["id"], default={})
    return Task(
        task_id=int(raw["id"]),
        image_sha256=image,
        data_digest=Material(image, dict(data), None).digest,
        images_url=where["base"] if where else "",
        images_key=previews.key_id if ours else "",
        expires_at=expires_at,
        model_version=proposed.get("model_version") or "",
    )


def _remove_doubles(client: LabelStudio, number: int, ledger: Ledger) -> None:
    """Delete further tasks of an image that nobody worked on. The oldest stays, and so does any work."""
    by_image: dict[str, list[Task]] = {}
    for task in sorted(ledger.alive.values(), key=lambda task: task.task_id):
        by_image.setdefault(task.image_sha256, []).append(task)
    several = {image: tasks for image, tasks in by_image.items() if len(tasks) > 1}
    ids = sorted(task.task_id for tasks in several.values() for task in tasks)
    worked = {raw["id"] for page in client.tasks_by_id(number, ids, FULL) for raw in page if _has_work(raw)}
    spare: list[Task] = []
    for tasks in several.values():
        idle = [task for task in tasks if task.task_id not in worked]
        spare += idle if len(idle) < len(tasks) else idle[1:]
    if spare:
        client.delete_tasks(number, [task.task_id for task in spare])
        ledger.lose(spare)
    ledger.counts["doubles_removed"] += len(spare)
    ledger.counts["doubles_kept"] += len(ids) - len(spare) - len(several)


def _has_work(raw: Mapping[str, Any]) -> bool:
    return bool(raw.get("total_annotations") or raw.get("cancelled_annotations") or raw.get("draft_exists"))
