"""What the catalog knows of Label Studio: projects, tasks, annotations; one method a query: queries/annotations.sql."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
from pydantic import BaseModel

from curator.catalog.connection import Connection, change


class PushRecord(BaseModel):
    """A push as the catalog keeps it: where to, whose captions, which images."""

    push_id: int
    project_key: str
    url: str
    label_studio_id: int
    model_version: str
    condition: str | None
    image_limit: int | None
    config_sha256: str
    images_url: str
    person: str


class Annotations(Connection):
    """Queries on what was sent to Label Studio and what came back."""

    def annotation_projects(self) -> pl.DataFrame:
        """Every project, oldest first, with its last push and pull (null where there was none).

        Columns: project_key, dataset, target_set, title, made_at, current (no later one of the same dataset, set and
        title), push_id, done, url, label_studio_id, model_version, condition, image_limit, config_sha256, images_url,
        pushed_at, rule, watermark (to the microsecond), pulled_at, swept_at.
        """
        return self._read("annotation_projects")

    @change
    def add_annotation_project(self, project_key: str, dataset: str, target_set: str, title: str, person: str) -> None:
        """Notes a project that is about to be made in Label Studio."""

    def reserve_annotation_push(self) -> int:
        """An id for a new push, never given out twice."""
        return int(self._read("reserve_annotation_push").item())

    def add_annotation_push(self, push: PushRecord, done: bool, counts: dict[str, int]) -> None:
        """Notes that a push begins (`done` False), or is done, with what it counted."""
        self._write("add_annotation_push", done=done, counts=json.dumps(counts), **push.model_dump())

    def annotation_tasks(self, project_key: str) -> pl.DataFrame:
        """The tasks of a project as last seen, by task.

        Columns: task_id, image_sha256, data_digest, images_url, images_key, expires_at (RFC 3339), model_version, gone.
        """
        return self._read("annotation_tasks", project_key=project_key)

    @change
    def add_annotation_tasks(self, project_key: str, push_id: int, rows: pl.DataFrame) -> None:
        """Notes what tasks hold now; `rows` has the columns of `annotation_tasks`."""

    def annotations_of_tasks(self, project_key: str, rows: pl.DataFrame) -> pl.DataFrame:
        """How each annotation of some tasks (`rows`: task_id) stands.

        Columns: revision_id, task_id, annotation_id, image_sha256, outcome, verdict, text, person, person_id,
        model_version, parent_caption_id, caption_id, created_at and updated_at (to the microsecond).
        """
        return self._read("annotations_of_tasks", rows, project_key=project_key)

    def annotated_tasks(self, project_key: str) -> dict[int, int]:
        """How many annotations each task has that ever had one, without skipped and deleted ones, gone tasks aside."""
        return dict(self._read("annotated_tasks", project_key=project_key).iter_rows())

    def annotations_of_images(self, dataset: str, target_set: str, rows: pl.DataFrame) -> pl.DataFrame:
        """How each annotation of some images (`rows`: image_sha256) stands, in every project of the set.

        Columns: revision_id, project_key, task_id, annotation_id, image_sha256, outcome, verdict, text, person,
        caption_id, updated_at.
        """
        return self._read("annotations_of_images", rows, dataset=dataset, target_set=target_set)

    def choices_of_images(self, dataset: str, target_set: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Which annotation speaks for each of some images (`rows`): image_sha256, revision_id, verdict."""
        return self._read("choices_of_images", rows, dataset=dataset, target_set=target_set)

    def contested_images(self, dataset: str, target_set: str) -> pl.DataFrame:
        """The images that several annotations could speak for. Columns: image_sha256."""
        return self._read("contested_images", dataset=dataset, target_set=target_set)

    def annotation_people(self, project_key: str) -> dict[int, str]:
        """The name last known of each of Label Studio's users, by their number there."""
        return dict(self._read("annotation_people", project_key=project_key).iter_rows())

    def reserve_caption_ids(self, count: int) -> list[int]:
        """Ids for as many new caption revisions, ascending."""
        return self._read("reserve_caption_ids", count=count)["caption_id"].to_list()

    def reserve_revision_ids(self, count: int) -> list[int]:
        """Ids for as many new annotation revisions, ascending."""
        return self._read("reserve_revision_ids", count=count)["revision_id"].to_list()

    def add_annotation_page(
        self,
        project: dict[str, Any],
        frames: dict[str, pl.DataFrame],
        rule: str,
        watermark: str | None,
        swept: bool,
        counts: dict[str, int],
        person: str,
    ) -> None:
        """Adds a page of what a pull saw, as one transaction.

        `project`: project_key, dataset, target_set. `frames`: runs (run_id, strategy, strategy_version, options as JSON
        text, person), captions_made (caption_id, image_sha256, text, inputs_digest, parent_id, run_id, captioned_at),
        revisions (the table's columns but project_key and pull_id), choices (image_sha256, revision_id, verdict),
        gone_tasks (task_id). `watermark`: as Label Studio writes times.
        """
        self._write(
            "add_annotation_page",
            frames=frames,
            rule=rule,
            watermark=watermark,
            swept=swept,
            counts=json.dumps(counts),
            person=person,
            **project,
        )

    def annotation_counts(self, project_key: str) -> list[dict[str, Any]]:
        """How many annotations of a project stand how: outcome, verdict, origin, annotations, images."""
        return self._read("annotation_counts", project_key=project_key).to_dicts()

    def answered_images(self, dataset: str, target_set: str, title: str) -> pl.DataFrame:
        """The images that an annotation of projects of a title speaks for in a set: image_sha256, verdict."""
        return self._read("answered_images", dataset=dataset, target_set=target_set, title=title)

    def emptied_tasks(self, project_key: str) -> list[int]:
        """The tasks with an annotation whose caption was emptied."""
        return self._read("emptied_tasks", project_key=project_key)["task_id"].to_list()

    def rejected_images(self, dataset: str) -> list[str]:
        """The images of a dataset that a person rejected, in any set, as it stands."""
        return self._read("rejected_images", dataset=dataset)["image_sha256"].to_list()

    def proposals(self, dataset: str) -> pl.DataFrame:
        """Every annotation of a caption that was proposed, as it stands.

        Columns: image_sha256, model_version, strategy, proposed (text), text, outcome, lead_time_seconds, person.
        """
        return self._read("proposals", dataset=dataset)

    def captions_by_person(self, dataset: str, target_set: str) -> pl.DataFrame:
        """The captions of images that several people gave one: image_sha256, person, text (each person's last)."""
        return self._read("captions_by_person", dataset=dataset, target_set=target_set)

    def annotation_progress(self, project_key: str) -> list[dict[str, Any]]:
        """What each person answered in a project, who answered most first.

        person, tasks, accepted (captions as they were proposed), edited, rejected, without_caption, median_seconds,
        last_at.
        """
        return self._read("annotation_progress", project_key=project_key).to_dicts()

    def annotation_disagreements(self, dataset: str, target_set: str) -> pl.DataFrame:
        """The answers of several people on one image that differ and aren't settled, by image, each person's last.

        Columns: image_sha256, person, outcome (captioned, rejected), text, project_key, task_id, updated_at,
        now_caption_id and now_text (what the image has in the set; null: nothing).
        """
        return self._read("annotation_disagreements", dataset=dataset, target_set=target_set)
