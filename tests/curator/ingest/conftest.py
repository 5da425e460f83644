"""Fixtures: a folder of images and its catalog."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curator.ingest import IngestResult, ingest
from tests.curator.lab import new_catalog


class Lab:
    """A folder of pictures and a catalog."""

    def __init__(self, folder: Path) -> None:
        self.pictures = folder / "pictures"
        self.pictures.mkdir()
        self.catalog = new_catalog(folder / "lab.duckdb")

    def ingest(self, **options: Any) -> IngestResult:
        return ingest(self.catalog, self.pictures, "zoo", person="ana", **options)

    def images(self) -> pl.DataFrame:
        return self.catalog.images_of_dataset("zoo")

    def metadata(self) -> dict[str, Any]:
        return {row["file_name"]: json.loads(row["metadata"]) for row in self.images().to_dicts()}

    def rejects(self) -> dict[str, str]:
        frame = self.catalog.standing_rejects("zoo")
        return {os.path.relpath(path, self.pictures): reason for path, reason in frame.select("path", "reason").rows()}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.catalog.close()
