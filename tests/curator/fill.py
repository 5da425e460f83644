"""Fills a catalog with images that have no bytes, for tests and benchmarks of what works on rows alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from curator.catalog import Catalog

Metadata = Mapping[str, Any]


def sha(number: int) -> str:
    """The sha256 that image `number` is given."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def add_images(
    catalog: Catalog, dataset: str, metadata: Sequence[Metadata], folder: str = "/images", first: int = 0
) -> None:
    """Images `first`, `first` + 1, ... of `dataset`, called 0000.png and on, with these metadata.

    Called again for the same numbers, it gives their paths new metadata, as a later ingest does.
    """
    rows = pl.DataFrame(
        {
            "image_sha256": [sha(first + place) for place in range(len(metadata))],
            "file_name": [f"{first + place:04}.png" for place in range(len(metadata))],
            "metadata": [json.dumps(values) for values in metadata],
        }
    )
    connection = catalog._connection.cursor()
    connection.register("filling", rows)
    connection.execute("INSERT INTO datasets VALUES (?, now()) ON CONFLICT DO NOTHING", [dataset])
    connection.execute(
        "INSERT INTO images SELECT image_sha256, 1, 64, 48, 'png', false, 1, 0 FROM filling ON CONFLICT DO NOTHING"
    )
    connection.execute(
        """INSERT INTO files SELECT (SELECT coalesce(max(file_id), 0) FROM files) + row_number() OVER (), $dataset,
        $folder || '/' || file_name, file_name, image_sha256, 1, 1, metadata, NULL, NULL, false, 1 FROM filling""",
        {"dataset": dataset, "folder": folder},
    )
    connection.close()
    catalog._kept._answers.clear()
