"""Catalog queries on datasets, files and images: one method for each query of queries/images.sql."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from curator.catalog.connection import Connection, change


class Images(Connection):
    def dataset_names(self) -> list[str]:
        return self._read("dataset_names")["name"].to_list()

    def images_of_dataset(self, dataset: str) -> pl.DataFrame:
        """Return each image of a dataset once, in the order first seen, with its first path's metadata.

        Columns: image_sha256, path, file_name, metadata (JSON text), source_url, license, size_bytes, width_px,
        height_px, format, has_alpha, exif_orientation, phash (uint64), representative_sha256 (of its near-duplicate
        group).
        """
        return self._read("images_of_dataset", dataset=dataset)

    def next_ingest_id(self) -> int:
        """Return a new ingest id."""
        return int(self._read("next_ingest_id").item())

    def last_ingest(self, dataset: str, root: str) -> dict[str, Any] | None:
        """Return the folder's last finished ingest, or None: ingest_id, options and counts (dicts), ingested_at."""
        rows = self._read("last_ingest", dataset=dataset, root=root).to_dicts()
        return rows[0] | {name: json.loads(rows[0][name]) for name in ("options", "counts")} if rows else None

    def known_files(self, dataset: str, prefix: str) -> pl.DataFrame:
        """Return the current row of each path below `prefix`, which ends with a slash.

        Columns: path, file_name, image_sha256, size_bytes, mtime_ns, metadata, source_url, license, ingest_id.
        """
        return self._read("known_files", dataset=dataset, prefix=prefix)

    def known_rejects(self, dataset: str, root: str, prefix: str) -> pl.DataFrame:
        """Return the current rejects of a folder and below: path, reason, detail, size_bytes, mtime_ns."""
        return self._read("known_rejects", dataset=dataset, root=root, prefix=prefix)

    def known_metadata_files(self, dataset: str, root: str) -> pl.DataFrame:
        """Return the tables and sidecars of the folder's last finished ingest: path, size_bytes, mtime_ns."""
        return self._read("known_metadata_files", dataset=dataset, root=root)

    def add_files(
        self,
        dataset: str,
        root: str,
        ingest_id: int,
        images: pl.DataFrame,
        files: pl.DataFrame,
        rejects: pl.DataFrame,
    ) -> None:
        """Add one chunk of an ingest in one transaction: new images, path rows, rejects.

        `images` has the columns of the table images. `files`: position (1, 2, ... in the order seen), path, file_name,
        image_sha256, size_bytes, mtime_ns, metadata, source_url, license, gone. `rejects`: path, reason, detail,
        size_bytes, mtime_ns, resolved.
        """
        frames = {"new_images": images, "new_files": files, "new_rejects": rejects}
        self._write("add_files", frames=frames, dataset=dataset, root=root, ingest_id=ingest_id)

    def finish_ingest(
        self,
        dataset: str,
        root: str,
        ingest_id: int,
        person: str,
        options: dict[str, Any],
        counts: dict[str, Any],
        metadata_files: pl.DataFrame,
    ) -> None:
        """Record a finished ingest and its metadata files (path, size_bytes, mtime_ns, gone)."""
        self._write(
            "finish_ingest",
            metadata_files,
            dataset=dataset,
            root=root,
            ingest_id=ingest_id,
            person=person,
            options=json.dumps(options),
            counts=json.dumps(counts),
        )

    def ungrouped_images(self, dataset: str) -> pl.DataFrame:
        """Return images without a near-duplicate group, first seen first: image_sha256, phash."""
        return self._read("ungrouped_images", dataset=dataset)

    def representatives(self, dataset: str) -> pl.DataFrame:
        """Return the representatives of a dataset's near-duplicate groups, oldest first: image_sha256, phash."""
        return self._read("representatives", dataset=dataset)

    @change
    def add_near_duplicates(self, dataset: str, rows: pl.DataFrame) -> None:
        """Assign images to groups permanently: image_sha256, representative_sha256, distance."""

    def dataset_counts(self, dataset: str) -> dict[str, int]:
        """Return counts: paths, images, near_duplicate_groups (of 2 or more), near_duplicate_images, rejects."""
        return self._read("dataset_counts", dataset=dataset).to_dicts()[0]

    def standing_rejects(self, dataset: str | None = None) -> pl.DataFrame:
        """Return the current rejects of a dataset, or of all: dataset, path, reason, detail, root (ingested folder)."""
        return self._read("standing_rejects", dataset=dataset)
