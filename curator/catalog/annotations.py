"""Catalog queries on Label Studio projects, tasks and annotations: one method for each of queries/annotations.sql."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
from pydantic import BaseModel

from curator.catalog.connection import Connection, change


class PushRecord(BaseModel):
    """A push to Label Studio: its project, caption sets and images."""

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
    def annotation_projects(self) -> pl.DataFrame:
        """Return every project, oldest first, with its last push and pull (null if there is none).

        Columns: project_key, dataset, target_set, title, made_at, current (no later one of the same dataset, set and
        title), push_id, done, url, label_studio_id, model_version, condition, image_limit, config_sha256, images_url,
        pushed_at, rule, watermark (to the microsecond), pulled_at, swept_at.
        """
        return self._read("annotation_projects")

    @change
    def add_annotation_project(self, project_key: str, dataset: str, target_set: str, title: str, person: str) -> None:
        """Record a project before it is created in Label Studio."""

    def reserve_annotation_push(self) -> int:
        """Return an unused push id."""
        return int(self._read("reserve_annotation_push").item())

    def add_annotation_push(self, push: PushRecord, done: bool, counts: dict[str, int]) -> None:
        """Record that a push started (`done` False) or finished, with its counts."""
        self._write("add_annotation_push", done=done, counts=json.dumps(counts), **push.model_dump())

    def annotation_tasks(self, project_key: str) -> pl.DataFrame:
        """Return a project's tasks as last seen, by task.

        Columns: task_id, image_sha256, data_digest, images_url, images_key, expires_at (RFC 3339), model_version, gone.
        """
        return self._read("annotation_tasks", project_key=project_key)

    @change
    def add_annotation_tasks(self, project_key: str, push_id: int, rows: pl.DataFrame) -> None:
        """Record the current content of tasks; `rows` has the columns of `annotation_tasks`."""

    def annotations_of_tasks(self, project_key: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the current state of the annotations of some tasks (`rows`: task_id).

        Columns: revision_id, task_id, annotation_id, image_sha256, outcome, verdict, text, person, person_id,
        model_version, parent_caption_id, caption_id, created_at and updated_at (to the microsecond).
        """
        return self._read("annotations_of_tasks", rows, project_key=project_key)

    def annotated_tasks(self, project_key: str) -> dict[int, int]:
        """Return the number of annotations by task, without skipped or deleted annotations and deleted tasks."""
        return dict(self._read("annotated_tasks", project_key=project_key).iter_rows())

    def annotations_of_images(self, dataset: str, target_set: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the annotations of some images (`rows`: image_sha256) in every project of the set.

        Columns: revision_id, project_key, task_id, annotation_id, image_sha256, outcome, verdict, text, person,
        caption_id, updated_at.
        """
        return self._read("annotations_of_images", rows, dataset=dataset, target_set=target_set)

    def choices_of_images(self, dataset: str, target_set: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the chosen annotation of some images (`rows`): image_sha256, revision_id, verdict."""
        return self._read("choices_of_images", rows, dataset=dataset, target_set=target_set)

    def contested_images(self, dataset: str, target_set: str) -> pl.DataFrame:
        """Return the images with several candidate annotations. Columns: image_sha256."""
        return self._read("contested_images", dataset=dataset, target_set=target_set)

    def annotation_people(self, project_key: str) -> dict[int, str]:
        """Return the last known name of each Label Studio user, by user id."""
        return dict(self._read("annotation_people", project_key=project_key).iter_rows())

    def reserve_caption_ids(self, count: int) -> list[int]:
        """Return `count` new caption ids, ascending."""
        return self._read("reserve_caption_ids", count=count)["caption_id"].to_list()

    def reserve_revision_ids(self, count: int) -> list[int]:
        """Return `count` new annotation revision ids, ascending."""
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
        """Add one page of a pull, in one transaction.

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
        """Return a project's annotation counts: outcome, verdict, origin, annotations, images."""
        return self._read("annotation_counts", project_key=project_key).to_dicts()

    def answered_images(self, dataset: str, target_set: str, title: str) -> pl.DataFrame:
        """Return the images of a set with a chosen annotation from projects of this title: image_sha256, verdict."""
        return self._read("answered_images", dataset=dataset, target_set=target_set, title=title)

    def emptied_tasks(self, project_key: str) -> list[int]:
        """Return the tasks with an annotation whose caption is empty."""
        return self._read("emptied_tasks", project_key=project_key)["task_id"].to_list()

    def rejected_images(self, dataset: str) -> list[str]:
        """Return the images of a dataset that a person rejected, in any set."""
        return self._read("rejected_images", dataset=dataset)["image_sha256"].to_list()

    def proposals(self, dataset: str) -> pl.DataFrame:
        """Return the current annotation of every proposed caption.

        Columns: image_sha256, model_version, strategy, proposed (text), text, outcome, lead_time_seconds, person.
        """
        return self._read("proposals", dataset=dataset)

    def captions_by_person(self, dataset: str, target_set: str) -> pl.DataFrame:
        """Return the last caption by person of images that several people captioned: image_sha256, person, text."""
        return self._read("captions_by_person", dataset=dataset, target_set=target_set)

    def annotation_progress(self, project_key: str) -> list[dict[str, Any]]:
        """Return the answers of each person in a project, most answers first.

        person, tasks, accepted (captions as they were proposed), edited, rejected, without_caption, median_seconds,
        last_at.
        """
        return self._read("annotation_progress", project_key=project_key).to_dicts()

    def annotation_disagreements(self, dataset: str, target_set: str) -> pl.DataFrame:
        """Return unresolved, differing answers of several people on one image: each person's last, by image.

        Columns: image_sha256, person, outcome (captioned, rejected), text, project_key, task_id, updated_at,
        now_caption_id and now_text (what the image has in the set; null: nothing).
        """
        return self._read("annotation_disagreements", dataset=dataset, target_set=target_set)
