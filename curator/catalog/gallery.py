"""What the catalog gives for browsing: a dataset's working copy, what is new since, one image with its captions.

One method a query of queries/gallery.sql.
"""

from __future__ import annotations

import polars as pl

from curator.catalog.connection import Connection


class Gallery(Connection):
    """Queries for browsing."""

    def gallery_marks(self, dataset: str, last_caption_id: int) -> dict[str, int]:
        """How far what a gallery shows of a dataset has grown, and how many captions there are after one.

        last_file_id, last_caption_id, captions, new_captions, near_duplicates, splits.
        """
        return self._read("gallery_marks", dataset=dataset, last_caption_id=last_caption_id).to_dicts()[0]

    def gallery_images(self, dataset: str) -> pl.DataFrame:
        """Each image of a dataset once, in the order it was first seen.

        Columns: number, file_id, sha256, file_name, width_px, height_px (upright), size_bytes, format, has_alpha,
        license, source_url, paths (how many it has).
        """
        return self._read("gallery_images", dataset=dataset)

    def gallery_new_files(self, dataset: str, last_file_id: int) -> pl.DataFrame:
        """The rows of paths after one, with the columns of `gallery_images` but paths, known and seen (yes/no).

        `known`: the path had a row before, is gone, or has several of these; `seen`: the image had a row before.
        """
        return self._read("gallery_new_files", dataset=dataset, last_file_id=last_file_id)

    def gallery_changes(self, dataset: str, last_file_id: int) -> pl.DataFrame:
        """The images that the rows of paths after one are about: those of the paths now, and those of them before.

        The columns of `gallery_images`, as they are now (number null: no path shows it any more), and seen (yes/no).
        """
        return self._read("gallery_changes", dataset=dataset, last_file_id=last_file_id)

    def gallery_captions(self, dataset: str, last_caption_id: int) -> pl.DataFrame:
        """The last revision by set and image, of those after one: set_name, sha256, caption_id, text, run_id."""
        return self._read("gallery_captions", dataset=dataset, last_caption_id=last_caption_id)

    def gallery_groups(self, dataset: str) -> pl.DataFrame:
        """The near-duplicate group of each image: sha256, near_duplicate_of."""
        return self._read("gallery_groups", dataset=dataset)

    def gallery_metadata(self, dataset: str, pointer: str, rows: pl.DataFrame) -> pl.DataFrame:
        """What rows of paths (`rows`: file_id) have at a JSON pointer (RFC 6901): file_id, value (JSON text)."""
        return self._read("gallery_metadata", rows, dataset=dataset, pointer=pointer)

    def strategies_of_dataset(self, dataset: str) -> list[str]:
        """The strategies that made captions of a dataset, by name; people's too: edit, replace, accept."""
        return self._read("strategies_of_dataset", dataset=dataset)["strategy"].to_list()

    def caption_runs_of_dataset(self, dataset: str) -> pl.DataFrame:
        """What made captions: run_id, set_name, strategy, by_person, person."""
        return self._read("caption_runs_of_dataset", dataset=dataset)

    def captions_of_image(self, dataset: str, image_sha256: str) -> pl.DataFrame:
        """An image's last revision in each set, with its run.

        Columns: set_name, caption_id, text (null: taken out), parent_id, run_id, captioned_at, strategy,
        strategy_version, options (JSON text), model, model_revision, by_person, person, restored_from, restored_by.
        """
        return self._read("captions_of_image", dataset=dataset, image_sha256=image_sha256)

    def file_row(self, file_id: int) -> dict[str, str]:
        """A row of a path: path, metadata (JSON text)."""
        return self._read("file_row", file_id=file_id).to_dicts()[0]

    def names_of_image(self, dataset: str, image_sha256: str) -> list[str]:
        """Every file name an image has in a dataset now, the first first."""
        return self._read("names_of_image", dataset=dataset, image_sha256=image_sha256)["file_name"].to_list()

    def group_of_image(self, dataset: str, image_sha256: str) -> pl.DataFrame:
        """Its near-duplicate group, the representative first: image_sha256, distance, representative."""
        return self._read("group_of_image", dataset=dataset, image_sha256=image_sha256)
