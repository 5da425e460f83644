"""Catalog queries on splits, and those of a snapshot: one method for each query of queries/splits.sql."""

from __future__ import annotations

import polars as pl

from curator.catalog.connection import Connection, change


class Splits(Connection):
    """Queries on splits, and on images and versions for snapshots."""

    def stored_splits(self, dataset: str) -> pl.DataFrame:
        """Return the stored split of near-duplicate groups. Columns: representative_sha256, split."""
        return self._read("stored_splits", dataset=dataset)

    @change
    def store_splits(self, dataset: str, rows: pl.DataFrame, assigned_at: str) -> None:
        """Store the split of groups. Columns: representative_sha256, split; `assigned_at` is RFC 3339."""

    def image_paths(self, dataset: str) -> pl.DataFrame:
        """Return the paths of each image. Columns: image_sha256, paths (list, oldest first)."""
        return self._read("image_paths", dataset=dataset)

    def track(self, dataset: str, set_name: str, last_caption_id: int) -> pl.DataFrame:
        """Return the captions of a set as of a caption id, by image, with their provenance.

        Columns: image_sha256, text, strategy, strategy_version, options (JSON text), model, model_revision, by_person,
        person, restored_from, restored_by, captioned_at (RFC 3339), inputs_digest.
        """
        return self._read("track", dataset=dataset, set_name=set_name, last_caption_id=last_caption_id)
