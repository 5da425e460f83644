"""A catalog for tests, filled by hand: pictures on disk with just the properties a test wants."""

from __future__ import annotations

import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
from PIL import Image

from curator.catalog import Catalog
from schemas.digest import sha256_json

MOMENT = "2026-11-23T12:00:00Z"
SEQUENCES = {"captions": "caption_ids", "caption_runs": "caption_run_ids"}


def picture(number: int, kind: str = "png", size: tuple[int, int] = (8, 6), orientation: int = 1) -> bytes:
    """The bytes of a small picture, different for each number."""
    image = Image.new("RGB", size, (number % 256, number // 256, 7))
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, kind, exif=exif)
    return buffer.getvalue()


@cache
def empty_catalog() -> bytes:
    """A new catalog's file; making one takes longer than most tests."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "lab.duckdb"
        Catalog.create(path).close()
        return path.read_bytes()


@cache
def filled_catalog(fill: Callable[[Catalog], object]) -> bytes:
    """The file of a catalog that `fill` filled."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "lab.duckdb"
        with new_catalog(path) as catalog:
            fill(catalog)
        return path.read_bytes()


def new_catalog(path: Path, fill: Callable[[Catalog], object] | None = None) -> Catalog:
    """What `Catalog.create` gives and `fill` fills, without doing either each time."""
    path.write_bytes(filled_catalog(fill) if fill else empty_catalog())
    return Catalog(path)


class Lab:
    """A catalog and the folder its pictures lie in. Rows are kept back and written in bulk, when one is needed."""

    def __init__(self, folder: Path, dataset: str = "zoo") -> None:
        self.folder, self.dataset = folder, dataset
        self.catalog = new_catalog(folder / "lab.duckdb")
        self.pending: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.files = self.captions = self.runs = 0
        self.versions: Counter[tuple[str, str]] = Counter()
        self.pending["datasets"].append({"name": dataset, "created_at": MOMENT})

    def close(self) -> None:
        """Writes what is pending and lets go of the file."""
        self.write()
        self.catalog.close()

    def write(self) -> Catalog:
        """The catalog, with everything in it."""
        if not self.pending:
            return self.catalog
        cursor = self.catalog._connection.cursor()
        for table, rows in self.pending.items():
            cursor.register("pending", pl.DataFrame(rows, infer_schema_length=None))
            cursor.execute(f"INSERT INTO {table} BY NAME SELECT * FROM pending")
            if sequence := SEQUENCES.get(table):  # what the program gives out next comes after these
                cursor.execute(f"SELECT max(nextval('{sequence}')) FROM range({len(rows)})").fetchall()
        cursor.close()
        self.pending.clear()
        self.catalog._kept._answers.clear()
        return self.catalog

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """Speaks to the database past the class, as no program may."""
        cursor = self.write()._connection.cursor()
        rows = cursor.execute(sql).fetchall()
        cursor.close()
        self.catalog._kept._answers.clear()
        return rows

    def add(
        self,
        name: str,
        number: int,
        metadata: Mapping[str, Any] | None = None,
        license: str | None = None,
        near: str | None = None,
        **how: Any,
    ) -> str:
        """Writes a picture and tells the catalog of it; returns its sha256. `near`: its representative."""
        content = picture(number, **how)
        path = self.folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        found = sha256(content).hexdigest()
        width, height = Image.open(io.BytesIO(content)).size
        self.pending["images"].append(
            {
                "sha256": found,
                "size_bytes": len(content),
                "width_px": width,
                "height_px": height,
                "format": how.get("kind", "png"),
                "has_alpha": False,
                "exif_orientation": how.get("orientation", 1),
                "phash": number,
            }
        )
        self.file(path, found, metadata or {}, license)
        self.pending["near_duplicates"].append(
            {"dataset": self.dataset, "image_sha256": found, "representative_sha256": near or found, "distance": 0}
        )
        return found

    def file(
        self, path: Path, image: str, metadata: Mapping[str, Any], license: str | None = None, gone: bool = False
    ) -> None:
        """One more row of a path."""
        self.files += 1
        self.pending["files"].append(
            {
                "file_id": self.files,
                "dataset": self.dataset,
                "path": str(path),
                "file_name": path.name,
                "image_sha256": image,
                "size_bytes": 1,
                "mtime_ns": 1,
                "metadata": json.dumps(metadata),
                "source_url": f"https://example.org/{path.name}",
                "license": license,
                "gone": gone,
                "ingest_id": 1,
            }
        )

    def caption(self, set_name: str, captions: Mapping[str, str | None], strategy: str = "fixed") -> None:
        """Captions that aren't committed."""
        self.runs += 1
        whose = {"dataset": self.dataset, "set_name": set_name, "run_id": self.runs}
        self.pending["caption_runs"].append(
            whose
            | {
                "strategy": strategy,
                "strategy_version": 1,
                "options": '{"text":"x"}',
                "by_person": False,
                "person": "ana",
                "started_at": MOMENT,
            }
        )
        for image, text in captions.items():
            self.captions += 1
            self.pending["captions"].append(
                whose
                | {
                    "caption_id": self.captions,
                    "image_sha256": image,
                    "text": text,
                    "inputs_digest": "in",
                    "captioned_at": MOMENT,
                }
            )

    def commit(self, set_name: str, captions: Mapping[str, str | None], strategy: str = "fixed") -> str:
        """Captions and a version of a set; returns its short reference."""
        self.caption(set_name, captions, strategy)
        self.versions[self.dataset, set_name] += 1
        number = self.versions[self.dataset, set_name]
        self.pending["versions"].append(
            {
                "dataset": self.dataset,
                "set_name": set_name,
                "number": number,
                "last_caption_id": self.captions,
                "captions": len(captions),
                "digest": sha256_json(dict(captions)),
                "message": "",
                "person": "ana",
                "committed_at": MOMENT,
            }
        )
        return f"{set_name}@{number}"
