"""Send a plan's captions, data and tasks. Each batch is recorded in the catalog before the next is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from curator.annotate.label_studio.client import LabelStudio
from curator.annotate.label_studio.http import LabelStudioFailed, NotThere, Uncertain
from curator.annotate.label_studio.labeling_page import CAPTION, IMAGE, labeling_config, prediction
from curator.annotate.previews.sources import address
from curator.annotate.push.ledger import Ledger, look_for, reconcile
from curator.annotate.push.plan import Material, Plan, Signing, Task, plan
from curator.catalog.annotations import PushRecord
from schemas.errors import AmatlError
from schemas.progress import Progress

BATCH = 1_000
SENDINGS = 3
TASKS_A_NOTE = 25  # tasks renewed between two writes to the catalog
LOOKS = (1.0, 2.0, 4.0, 8.0)  # seconds before each look for what may have arrived


@dataclass(frozen=True)
class Stock:
    """The material of every image of the dataset, and the images chosen."""

    material: dict[str, Material]
    chosen: list[str]


def signing(ledger: Ledger, images_url: str, days: int) -> Signing:
    """Return URLs valid for `days`, renewed when a third of that is left."""
    today = datetime.now(UTC).replace(microsecond=0)
    ends = today + timedelta(days=days)
    return Signing(images_url, ledger.previews.key_id, ends, today + timedelta(days=days) / 3)


class Sender:
    """Sends the tasks of one push."""

    def __init__(
        self,
        client: LabelStudio,
        record: PushRecord,
        ledger: Ledger,
        stock: Stock,
        answered: set[str],
        signing: Signing,
        progress: Progress,
    ) -> None:
        self.client, self.record, self.ledger, self.stock = client, record, ledger, stock
        self.answered = answered
        self.signing, self.progress, self.number = signing, progress, record.label_studio_id
        self.without_preview: dict[str, int] = {}
        self.sent = self.replaced = self.updated = 0
        self.in_doubt = False

    def run(self) -> Plan:
        """Send captions, then data, then new tasks: a push that ends early leaves nobody without a caption."""
        made = self.plan()
        images = [*made.new, *(task.image_sha256 for task in made.update), *self.without_file()]
        previews = self.previews(images)
        check_proposals([self.stock.material[image] for image in made.new], self.record.model_version)
        self.propose(made.propose)
        self.show_version()
        self.update([task for task in made.update if task.image_sha256 in previews])
        self.send([image for image in made.new if image in previews])
        if self.in_doubt:
            reconcile(self.client, self.number, self.ledger)
            self.send([image for image in self.plan().new if image in previews])
        self.show_version()
        return made

    def plan(self) -> Plan:
        """Return what there is to do."""
        tasks = sorted(self.ledger.alive.values(), key=lambda task: task.task_id)
        stock, version = self.stock, self.record.model_version
        return plan(stock.material, stock.chosen, tasks, self.answered, self.signing, version)

    def without_file(self) -> list[str]:
        """Return images of tasks whose preview is gone from the disk: annotators see nothing until it is made again."""
        shown = (task.image_sha256 for task in self.ledger.alive.values())
        return self.ledger.previews.lacking([image for image in shown if image in self.stock.material])

    def previews(self, images: Sequence[str]) -> set[str]:
        """Make previews of these images. Return those that have one now; count the others by reason."""
        wanted, made = list(dict.fromkeys(images)), self.ledger.previews
        for reason in made.make(wanted, self.progress):
            self.without_preview[reason] = self.without_preview.get(reason, 0) + 1
        there = set(wanted) - set(made.lacking(wanted))
        made.sign(there, self.signing.expires_at)
        return there

    def task(self, task_id: int, image: str, model_version: str) -> Task:
        """Return a task as it is once this push has sent it."""
        signing = self.signing
        return Task(
            task_id=task_id,
            image_sha256=image,
            data_digest=self.stock.material[image].digest,
            images_url=signing.images_url,
            images_key=signing.images_key,
            expires_at=signing.expires_at,
            model_version=model_version,
        )

    def data(self, image: str) -> dict[str, Any]:
        """Return a task's data, with a new signed URL of its image."""
        signing = self.signing
        url = address(self.ledger.previews, signing.images_url, image, signing.expires_at)
        return self.stock.material[image].data | {"image": url}

    def propose(self, tasks: Sequence[Task]) -> None:
        """Add this version's captions to tasks that show another version's."""
        version = self.record.model_version
        if tasks:
            some = ("predictions_model_versions", "contains", [version], "List")
            pages = self.client.tasks(self.number, "predictions", some)
            have = {raw["id"] for page in pages for raw in page if _proposes(raw, version)}
            self._noted([task for task in tasks if task.task_id in have])
            tasks = [task for task in tasks if task.task_id not in have]
        for first in range(0, len(tasks), BATCH):
            batch = tasks[first : first + BATCH]
            self._propose_batch(batch)
            self.replaced += len(batch)
            self.progress("replacing captions", first + len(batch), len(tasks))

    def _propose_batch(self, batch: Sequence[Task]) -> None:
        version, pending, trouble = self.record.model_version, list(batch), None
        for _ in range(SENDINGS):
            captions = {task.task_id: self.stock.material[task.image_sha256].caption or "" for task in pending}
            rows = [{"task": task_id, **prediction(text, version)} for task_id, text in captions.items()]
            try:
                self.client.import_predictions(self.number, rows)
            except Uncertain as error:
                trouble = error
                have = self._wait_for_proposals(pending)
            else:
                have = set(captions)
            self._noted([task for task in pending if task.task_id in have])
            pending = [task for task in pending if task.task_id not in have]
            if not pending:
                return
        raise _gave_up(len(pending), "captions", trouble)

    def _wait_for_proposals(self, batch: Sequence[Task]) -> set[int]:
        """Return which of these have this version's caption, after time for the request to arrive."""
        have: set[int] = set()
        for seconds in LOOKS:
            self.client.pause(seconds)
            pages = self.client.tasks_by_id(self.number, [task.task_id for task in batch], "predictions")
            have = {raw["id"] for page in pages for raw in page if _proposes(raw, self.record.model_version)}
            if len(have) == len(batch):
                break
        return have

    def _noted(self, tasks: Sequence[Task]) -> None:
        version = self.record.model_version
        self.ledger.write([Task(**vars(task) | {"model_version": version}) for task in tasks])

    def show_version(self) -> None:
        """Make the project show this version's captions. Label Studio accepts only a version that some task has."""
        version = self.record.model_version
        if self.client.project(self.number).model_version != version and any(
            task.model_version == version for task in self.ledger.alive.values()
        ):
            self.client.update_project(self.number, {"model_version": version})

    def update(self, tasks: Sequence[Task]) -> None:
        """Renew the data of tasks, one request each: Label Studio has none for several."""
        renewed: list[Task] = []
        try:
            for done, task in enumerate(tasks, 1):
                now = self.ledger.alive[task.task_id]
                try:
                    self.client.update_task(task.task_id, self.data(task.image_sha256))
                except NotThere:
                    self.in_doubt = True
                    continue
                renewed.append(self.task(task.task_id, task.image_sha256, now.model_version))
                self.updated += 1
                if len(renewed) >= TASKS_A_NOTE:
                    self.ledger.write(renewed)
                    renewed = []
                self.progress("renewing tasks", done, len(tasks))
        finally:
            self.ledger.write(renewed)

    def send(self, images: Sequence[str]) -> None:
        """Send new tasks in batches; record each before the next is sent."""
        for first in range(0, len(images), BATCH):
            batch = images[first : first + BATCH]
            self._send_batch(batch)
            self.sent += len(batch)
            self.progress("sending tasks", first + len(batch), len(images))

    def _send_batch(self, batch: Sequence[str]) -> None:
        version, pending, trouble = self.record.model_version, list(batch), None
        for _ in range(SENDINGS):
            tasks = [
                {
                    "data": self.data(image),
                    "predictions": [prediction(self.stock.material[image].caption or "", version)],
                }
                for image in pending
            ]
            try:
                ids = self.client.import_tasks(self.number, tasks)
            except Uncertain as error:
                trouble, self.in_doubt = error, True
                self._wait_for_tasks(pending)
            else:
                self.ledger.write(
                    self.task(task_id, image, version) for task_id, image in zip(ids, pending, strict=True)
                )
            held = {task.image_sha256 for task in self.ledger.alive.values()}
            pending = [image for image in pending if image not in held]
            if not pending:
                return
        raise _gave_up(len(pending), "tasks", trouble)

    def _wait_for_tasks(self, batch: Sequence[str]) -> None:
        """Look for the tasks sent until they are there or had time to arrive. They count as sent."""
        found_before = self.ledger.counts["found_again"]
        for seconds in LOOKS:
            self.client.pause(seconds)
            look_for(self.client, self.number, self.ledger)
            self.ledger.counts["found_again"] = found_before
            if set(batch) <= {task.image_sha256 for task in self.ledger.alive.values()}:
                return


def check_proposals(material: Sequence[Material], model_version: str) -> None:
    """Check a proposal against the labeling config by the SDK's rules: a wrong one fails its whole batch.

    All proposals have one shape and differ in text only, so one stands for all.
    """
    if not material:
        return
    # Here: loading it takes 0.5 s, and only a push with new tasks needs it.
    from label_studio_sdk.label_interface.interface import LabelInterface

    page: Any = LabelInterface(labeling_config())
    wrong = page.validate_prediction(prediction(material[0].caption or "", model_version), return_errors=True)
    if wrong:
        raise AmatlError(f"The proposals don't fit the labeling page ({wrong[0]}): {CAPTION} of {IMAGE}. Report this.")


def _proposes(raw: Mapping[str, Any], version: str) -> bool:
    return any(found.get("model_version") == version for found in raw.get("predictions") or [])


def _gave_up(missing: int, what: str, trouble: Exception | None) -> LabelStudioFailed:
    """Return the error after several attempts. `trouble` is None if Label Studio accepted them."""
    why = str(trouble) if trouble else "Label Studio took them, and doesn't have them."
    return LabelStudioFailed(
        f"{missing:,} {what} were sent {SENDINGS} times and didn't arrive. {why} Run the same command again: it goes "
        "on from there."
    )
