"""What the catalog knows about datasets, files and images: one method a query of queries/images.sql."""

from __future__ import annotations

from typing import TYPE_CHECKING

from curator.catalog.connection import Connection

if TYPE_CHECKING:
    import polars as pl


class Images(Connection):
    """Queries on datasets, files, images, near-duplicates and rejects."""

    def dataset_names(self) -> list[str]:
        """Every dataset, by name."""
        return self._read("dataset_names")["name"].to_list()

    def images_of_dataset(self, dataset: str) -> pl.DataFrame:
        """Each image of a dataset once, in the order it was first seen, with its first path's metadata.

        Columns: image_sha256, path, file_name, metadata (JSON text), source_url, license, size_bytes, width_px, height_px,
        format, has_alpha, exif_orientation, phash (uint64), representative_sha256 (of its near-duplicate group).
        """
        return self._read("images_of_dataset", dataset=dataset)
