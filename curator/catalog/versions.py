"""Catalog queries on versions: one method for each query of queries/versions.sql."""

from __future__ import annotations

import polars as pl

from curator.catalog.connection import Connection, change


class Versions(Connection):
    """Queries on versions."""

    def versions(self) -> pl.DataFrame:
        """Return every committed version, oldest first.

        Columns: dataset, set_name, number, last_caption_id, captions, digest, message, person, committed_at.
        """
        return self._read("versions")

    @change
    def add_version(
        self,
        dataset: str,
        set_name: str,
        last_caption_id: int,
        captions: int,
        digest: str,
        message: str,
        person: str,
    ) -> None:
        """Commit a set, as of a caption id, as its next version."""
