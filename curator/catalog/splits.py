"""What the catalog knows about splits, and what a snapshot reads: one method a query of queries/splits.sql."""

from __future__ import annotations

import polars as pl

from curator.catalog.connection import Connection, change


class Splits(Connection):
    """Queries on splits, and on images and versions as a snapshot wants them."""

    def stored_splits(self, dataset: str) -> pl.DataFrame:
        """The split of each near-duplicate group that was given one. Columns: representative_sha256, split."""
        return self._read("stored_splits", dataset=dataset)

    @change
    def store_splits(self, dataset: str, rows: pl.DataFrame, assigned_at: str) -> None:
        """Gives groups their split. Rows: representative_sha256, split; `assigned_at` is RFC 3339."""

    def image_paths(self, dataset: str) -> pl.DataFrame:
        """Every path each image is at. Columns: image_sha256, paths (list, the first first)."""
        return self._read("image_paths", dataset=dataset)

    def track(self, dataset: str, set_name: str, last_caption_id: int) -> pl.DataFrame:
        """The captions of a set as of a caption id, by image, with their provenance.

        Columns: image_sha256, text, strategy, strategy_version, options (JSON text), model, model_revision, by_person,
        person, restored_from, restored_by, captioned_at (RFC 3339), inputs_digest.
        """
        return self._read("track", dataset=dataset, set_name=set_name, last_caption_id=last_caption_id)
