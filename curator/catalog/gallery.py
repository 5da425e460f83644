"""Catalog queries for browsing: a dataset's working copy, its changes, one image with its captions.

One method a query of queries/gallery.sql.
"""

from __future__ import annotations

import polars as pl

from curator.catalog.connection import Connection


class Gallery(Connection):
    def gallery_marks(self, dataset: str, last_caption_id: int) -> dict[str, int]:
        """Return the highest ids that the gallery depends on, and the number of captions newer than `last_caption_id`.

        last_file_id, last_caption_id, captions, new_captions, near_duplicates, splits.
        """
        return self._read("gallery_marks", dataset=dataset, last_caption_id=last_caption_id).to_dicts()[0]

    def gallery_images(self, dataset: str) -> pl.DataFrame:
        """Return each image of a dataset once, in the order first seen.

        Columns: number, file_id, sha256, file_name, width_px, height_px (upright), size_bytes, format, has_alpha,
        license, source_url, paths (how many it has).
        """
        return self._read("gallery_images", dataset=dataset)

    def gallery_new_files(self, dataset: str, last_file_id: int) -> pl.DataFrame:
        """Return path rows newer than `last_file_id`: columns of `gallery_images` without paths, plus known, seen.

        `known`: the path had a row before, is gone, or has several of these; `seen`: the image had a row before.
        """
        return self._read("gallery_new_files", dataset=dataset, last_file_id=last_file_id)

    def gallery_changes(self, dataset: str, last_file_id: int) -> pl.DataFrame:
        """Return the images whose paths changed after `last_file_id`, current and previous ones.

        The columns of `gallery_images`, as they are now (number null: no path shows it any more), and seen (yes/no).
        """
        return self._read("gallery_changes", dataset=dataset, last_file_id=last_file_id)

    def gallery_captions(self, dataset: str, last_caption_id: int) -> pl.DataFrame:
        """Return last revisions newer than `last_caption_id`: set_name, sha256, caption_id, text, run_id."""
        return self._read("gallery_captions", dataset=dataset, last_caption_id=last_caption_id)

    def gallery_groups(self, dataset: str) -> pl.DataFrame:
        """Return each image's near-duplicate group: sha256, near_duplicate_of."""
        return self._read("gallery_groups", dataset=dataset)

    def gallery_metadata(self, dataset: str, pointer: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Return metadata at a JSON pointer (RFC 6901) for `rows` (file_id): file_id, value (JSON text)."""
        return self._read("gallery_metadata", rows, dataset=dataset, pointer=pointer)

    def strategies_of_dataset(self, dataset: str) -> list[str]:
        """Return the dataset's strategies by name, including people's: edit, replace, accept."""
        return self._read("strategies_of_dataset", dataset=dataset)["strategy"].to_list()

    def caption_runs_of_dataset(self, dataset: str) -> pl.DataFrame:
        """Return the dataset's caption runs: run_id, set_name, strategy, by_person, person."""
        return self._read("caption_runs_of_dataset", dataset=dataset)

    def captions_of_image(self, dataset: str, image_sha256: str) -> pl.DataFrame:
        """Return an image's last revision in each set, with its run.

        Columns: set_name, caption_id, text (null: taken out), parent_id, run_id, captioned_at, strategy,
        strategy_version, options (JSON text), model, model_revision, by_person, person, restored_from, restored_by.
        """
        return self._read("captions_of_image", dataset=dataset, image_sha256=image_sha256)

    def file_row(self, file_id: int) -> dict[str, str]:
        """Return one path row: path, metadata (JSON text)."""
        return self._read("file_row", file_id=file_id).to_dicts()[0]

    def names_of_image(self, dataset: str, image_sha256: str) -> list[str]:
        """Return an image's current file names in a dataset, first seen first."""
        return self._read("names_of_image", dataset=dataset, image_sha256=image_sha256)["file_name"].to_list()

    def group_of_image(self, dataset: str, image_sha256: str) -> pl.DataFrame:
        """Return an image's near-duplicate group, representative first: image_sha256, distance, representative."""
        return self._read("group_of_image", dataset=dataset, image_sha256=image_sha256)
