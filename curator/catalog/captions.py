"""Catalog queries on captions: one method for each query of queries/captions.sql."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
from pydantic import BaseModel

from curator.catalog.connection import Connection, change


class CaptionRun(BaseModel):
    """Settings that all captions of one run share."""

    run_id: int
    dataset: str
    set_name: str
    strategy: str
    strategy_version: int
    options: dict[str, Any]
    model: str | None = None
    model_revision: str | None = None
    by_person: bool = False
    person: str
    restored_from: str | None = None
    restored_by: str | None = None


class Captions(Connection):
    def images_to_caption(self, dataset: str, pointers: list[str]) -> pl.DataFrame:
        """Return each image of a dataset once, in the order first seen, with metadata at JSON pointers (RFC 6901).

        Columns: image_sha256, path, size_bytes, file_name, format, width_px, height_px (upright), and two lists aligned
        with `pointers`: metadata_values (text; lists as JSON text), metadata_types (JSON type names, null for nothing).
        """
        return self._read("images_to_caption", dataset=dataset, pointers=pointers)

    def file_names_of_images(self, dataset: str) -> pl.DataFrame:
        """Return the current file names of each image. Columns: image_sha256, file_names (list)."""
        return self._read("file_names_of_images", dataset=dataset)

    def metadata_fields(self, dataset: str) -> list[str]:
        """Return the metadata field names of a dataset's images."""
        return self._read("metadata_fields", dataset=dataset)["field"].to_list()

    def current_captions(self, dataset: str, set_name: str, last_caption_id: int | None = None) -> pl.DataFrame:
        """Return each image's last revision in a set, up to a caption id (None: all), by image.

        Columns: image_sha256, caption_id, text (null: taken out), inputs_digest, run_id, strategy, by_person, person.
        """
        return self._read("current_captions", dataset=dataset, set_name=set_name, last_caption_id=last_caption_id)

    def caption_texts(self, dataset: str, set_name: str, last_caption_id: int | None = None) -> pl.DataFrame:
        """Return a set's captions up to a caption id (None: all), by image. Columns: image_sha256, text, caption_id."""
        return self._read("caption_texts", dataset=dataset, set_name=set_name, last_caption_id=last_caption_id)

    def caption_differences(
        self,
        before_dataset: str,
        before_set: str,
        before_caption_id: int,
        after_dataset: str,
        after_set: str,
        after_caption_id: int,
    ) -> pl.DataFrame:
        """Compare states of two sets. Columns: image_sha256, before, after (null: no caption)."""
        return self._read(
            "caption_differences",
            before_dataset=before_dataset,
            before_set=before_set,
            before_caption_id=before_caption_id,
            after_dataset=after_dataset,
            after_set=after_set,
            after_caption_id=after_caption_id,
        )

    def revision_differences(
        self, dataset: str, set_name: str, before_caption_id: int, after_caption_id: int
    ) -> pl.DataFrame:
        """Compare two states of one set. Columns: image_sha256, before, after (null: no caption)."""
        return self._read(
            "revision_differences",
            dataset=dataset,
            set_name=set_name,
            before_caption_id=before_caption_id,
            after_caption_id=after_caption_id,
        )

    def revision_counts(
        self, dataset: str, set_name: str, before_caption_id: int, after_caption_id: int
    ) -> dict[str, int]:
        """Return how many captions were added, removed and changed between two caption ids."""
        return self._read(
            "revision_counts",
            dataset=dataset,
            set_name=set_name,
            before_caption_id=before_caption_id,
            after_caption_id=after_caption_id,
        ).to_dicts()[0]

    def caption_sets(self) -> pl.DataFrame:
        """Return every caption set. Columns: dataset, set_name, last_caption_id."""
        return self._read("caption_sets")

    def caption_count(self, dataset: str, set_name: str, last_caption_id: int) -> int:
        """Return the number of captioned images in a set, up to a caption id."""
        found = self._read("caption_count", dataset=dataset, set_name=set_name, last_caption_id=last_caption_id)
        return int(found["captions"][0])

    def captions_without_image(self, dataset: str, set_name: str, last_caption_id: int) -> int:
        """Return the number of a set's captions, up to a caption id, whose image has no file in the dataset."""
        found = self._read(
            "captions_without_image", dataset=dataset, set_name=set_name, last_caption_id=last_caption_id
        )
        return int(found["captions"][0])

    def reserve_caption_run(self) -> int:
        """Return an unused caption run id."""
        return int(self._read("reserve_caption_run")["run_id"][0])

    def add_captions(
        self,
        run: CaptionRun,
        rows: pl.DataFrame,
        failures: pl.DataFrame | None = None,
        sources: pl.DataFrame | None = None,
    ) -> None:
        """Add a run's revisions and failures, in one transaction.

        Columns: image_sha256, text, inputs_digest, parent_id; of `failures`: image_sha256, reason (null: put right); of
        `sources`, the sets that all captions of the run are made of: set_name, number, last_caption_id.
        """
        nothing = pl.DataFrame(schema={"image_sha256": pl.String, "reason": pl.String})
        none = pl.DataFrame(schema={"set_name": pl.String, "number": pl.Int32, "last_caption_id": pl.Int64})
        frames = {
            "failures": nothing if failures is None else failures,
            "sources": none if sources is None else sources,
        }
        options = json.dumps(run.options, ensure_ascii=False)
        self._write("add_captions", rows=rows, frames=frames, **run.model_dump() | {"options": options})

    def standing_failures(self, dataset: str | None = None, set_name: str | None = None) -> pl.DataFrame:
        """Return the images of a set (None: of all) whose last captioning failed, by reason.

        Columns: dataset, set_name, image_sha256, file_name, reason, strategy, failed_at.
        """
        return self._read("standing_failures", dataset=dataset, set_name=set_name)

    def runs_of_set(self, dataset: str, set_name: str) -> pl.DataFrame:
        """Return a set's caption runs. Columns: run_id, strategy, strategy_version, options, model, model_revision."""
        return self._read("runs_of_set", dataset=dataset, set_name=set_name)

    def sources_of_sets(self, dataset: str) -> pl.DataFrame:
        """Return the sets that each set reads uncommitted captions from. Columns: set_name, source."""
        return self._read("sources_of_sets", dataset=dataset)

    @change
    def restore_captions(
        self, dataset: str, set_name: str, restored_from: str, restored_by: str, rows: pl.DataFrame
    ) -> None:
        """Add revisions with copied runs: image_sha256, text, inputs_digest, parent_id, run_id, old_run_id."""

    def revise_captions(
        self,
        dataset: str,
        set_name: str,
        run_id: int,
        strategy: str,
        options: dict[str, Any],
        person: str,
        rows: pl.DataFrame,
    ) -> None:
        """Add a person's revisions; skip images whose last revision is not `parent_id` (null: none).

        Columns: image_sha256, text, inputs_digest, parent_id. `captions_of_run` tells which were added.
        """
        self._write(
            "revise_captions",
            rows,
            dataset=dataset,
            set_name=set_name,
            run_id=run_id,
            strategy=strategy,
            options=json.dumps(options, ensure_ascii=False),
            person=person,
        )

    def captions_of_run(self, dataset: str, set_name: str, run_id: int) -> pl.DataFrame:
        """Return the captions that a run added to a set, in order, and those they replaced.

        Columns: image_sha256, caption_id, text, inputs_digest, parent_id, parent_text, parent_inputs_digest,
        parent_run_id (null where there was none), current.
        """
        return self._read("captions_of_run", dataset=dataset, set_name=set_name, run_id=run_id)

    def find_images(self, text: str) -> pl.DataFrame:
        """Return the images that match a SHA-256 prefix (6 digits or more), file name or path.

        Columns: dataset, image_sha256, file_name, path.
        """
        return self._read("find_images", text=text)

    def image_history(self, image_sha256: str) -> pl.DataFrame:
        """Return all revisions of an image, by set, oldest first, with their runs and versions."""
        return self._read("image_history", image_sha256=image_sha256)

    def names_of_images(self, dataset: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Return one file name of each image in `rows` (image_sha256). Columns: image_sha256, file_name."""
        return self._read("names_of_images", rows=rows, dataset=dataset)

    def captions_of_images(self, dataset: str, set_name: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the last revision in a set of each image in `rows` (image_sha256), by image.

        Columns: image_sha256, caption_id, text (null: taken out), by_person, person.
        """
        return self._read("captions_of_images", rows=rows, dataset=dataset, set_name=set_name)
