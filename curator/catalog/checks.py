"""Catalog queries of `curator doctor` and `curator prune`: one method for each query of queries/checks.sql."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from curator.catalog.connection import Connection

MOVED_TO = "moved_to"  # In the options of the last ingest of a folder that has moved: where it is now.


class Checks(Connection):
    """Queries that compare the catalog with the disk."""

    def schema_number(self) -> int:
        """Return the number of the last applied migration."""
        return int(self._read("schema_number").item())

    def files_on_record(self, dataset: str) -> pl.DataFrame:
        """Return every recorded path of a dataset: path, image_sha256, size_bytes, mtime_ns."""
        return self._read("files_on_record", dataset=dataset)

    def images_on_record(self) -> pl.DataFrame:
        """Return every image ever recorded: image_sha256, here (true if a path holds it now)."""
        return self._read("images_on_record")

    def ingested_folders(self, dataset: str) -> dict[str, dict[str, Any]]:
        """Return the folders of a dataset, each with the options of its last finished ingest, without moved ones."""
        rows = self._read("ingested_folders", dataset=dataset).iter_rows()
        folders: dict[str, dict[str, Any]] = {root: json.loads(options) for root, options in rows}
        return {root: options for root, options in folders.items() if MOVED_TO not in options}

    def unfinished_files(self, dataset: str) -> int:
        """Return the number of rows from an interrupted ingest that was not run again."""
        return int(self._read("unfinished_files", dataset=dataset).item())

    def caption_coverage(self, dataset: str) -> pl.DataFrame:
        """Return for each caption set of a dataset: set_name, images, without_caption."""
        return self._read("caption_coverage", dataset=dataset)
