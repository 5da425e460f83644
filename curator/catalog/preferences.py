"""Catalog queries on blind comparisons: one method for each query of queries/preferences.sql."""

from __future__ import annotations

import json
from collections.abc import Sequence

import polars as pl

from curator.catalog.connection import Connection, change


class Preferences(Connection):
    def preference_projects(self) -> pl.DataFrame:
        """Return comparisons, oldest first. Columns: project_key, dataset, versions (JSON), url, label_studio_id."""
        return self._read("preference_projects")

    def add_preference_project(
        self,
        project_key: str,
        dataset: str,
        versions: Sequence[str],
        url: str | None,
        label_studio_id: int | None,
        person: str,
    ) -> None:
        """Record a comparison before it is created (no url or id yet), or its address afterwards."""
        self._write(
            "add_preference_project",
            project_key=project_key,
            dataset=dataset,
            versions=json.dumps(list(versions)),
            url=url,
            label_studio_id=label_studio_id,
            person=person,
        )

    def preference_tasks(self, project_key: str) -> pl.DataFrame:
        """Return the versions each task shows. Columns: task_id, image_sha256, shown (JSON list in order)."""
        return self._read("preference_tasks", project_key=project_key)

    @change
    def add_preference_tasks(self, project_key: str, rows: pl.DataFrame) -> None:
        """Record new tasks; `rows` has the columns of `preference_tasks`."""

    def preference_answers(self, project_key: str) -> pl.DataFrame:
        """Return the current answers, including deleted ones, by annotation.

        Columns: task_id, annotation_id, image_sha256, outcome, place, person, lead_time_seconds, updated_at.
        """
        return self._read("preference_answers", project_key=project_key)

    @change
    def add_preference_answers(self, project_key: str, rows: pl.DataFrame) -> None:
        """Add answer revisions; `rows` has the columns of `preference_answers`."""
