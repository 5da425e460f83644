"""What the catalog knows of blind comparisons: projects, tasks, answers; a method a query: queries/preferences.sql."""

from __future__ import annotations

import json
from collections.abc import Sequence

import polars as pl

from curator.catalog.connection import Connection, change


class Preferences(Connection):
    """Queries on comparisons of caption sets by people."""

    def preference_projects(self) -> pl.DataFrame:
        """Every comparison, oldest first. Columns: project_key, dataset, versions (JSON list), url, label_studio_id."""
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
        """Notes a comparison that is about to be made (no url, no number yet), or where it is now."""
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
        """What each task shows, by task. Columns: task_id, image_sha256, shown (JSON list of versions in order)."""
        return self._read("preference_tasks", project_key=project_key)

    @change
    def add_preference_tasks(self, project_key: str, rows: pl.DataFrame) -> None:
        """Notes what new tasks show; `rows` has the columns of `preference_tasks`."""

    def preference_answers(self, project_key: str) -> pl.DataFrame:
        """Every answer as it stands, deleted ones too, by annotation.

        Columns: task_id, annotation_id, image_sha256, outcome, place, person, lead_time_seconds, updated_at.
        """
        return self._read("preference_answers", project_key=project_key)

    @change
    def add_preference_answers(self, project_key: str, rows: pl.DataFrame) -> None:
        """Adds revisions of answers; `rows` has the columns of `preference_answers`."""
