"""A catalog for tests, filled by hand: pictures on disk with just the properties a test wants."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from curator.catalog import Catalog
from schemas.digest import sha256_json

MOMENT = "2026-11-23T12:00:00Z"


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


class Lab:
    """A catalog and the folder its pictures lie in."""

    def __init__(self, folder: Path, dataset: str = "zoo") -> None:
        self.folder, self.dataset = folder, dataset
        (folder / "lab.duckdb").write_bytes(empty_catalog())
        self.catalog = Catalog(folder / "lab.duckdb")
        self.cursor = self.catalog._connection.cursor()
        self.files = 0
        self.run("INSERT INTO datasets VALUES (?, ?)", dataset, MOMENT)

    def run(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Speaks to the database past the class, as no program may."""
        return self.cursor.execute(sql, list(values)).fetchall()

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is done within is one transaction, which is quicker."""
        self.cursor.begin()
        yield
        self.cursor.commit()

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
        self.run(
            "INSERT INTO images VALUES (?, ?, ?, ?, ?, false, ?, ?) ON CONFLICT DO NOTHING",
            found, len(content), width, height, how.get("kind", "png"), how.get("orientation", 1), number,
        )  # fmt: skip
        self.file(path, found, metadata or {}, license)
        self.run("INSERT INTO near_duplicates VALUES (?, ?, ?, 0)", self.dataset, found, near or found)
        return found

    def file(
        self, path: Path, image: str, metadata: Mapping[str, Any], license: str | None = None, gone: bool = False
    ) -> None:
        """One more row of a path."""
        self.files += 1
        self.run(
            "INSERT INTO files VALUES (?, ?, ?, ?, ?, 1, 1, ?, 'https://example.org/' || ?, ?, ?, 1)",
            self.files, self.dataset, str(path), path.name, image, json.dumps(metadata), path.name, license, gone,
        )  # fmt: skip

    def commit(self, set_name: str, captions: Mapping[str, str | None], strategy: str = "fixed") -> str:
        """Captions and a version of a set; returns its short reference."""
        ((run,),) = self.run("SELECT nextval('caption_run_ids')")
        self.run(
            "INSERT INTO caption_runs VALUES (?, ?, ?, ?, 1, '{\"text\":\"x\"}', NULL, NULL, false, 'ana', NULL, "
            "NULL, ?)",
            run, self.dataset, set_name, strategy, MOMENT,
        )  # fmt: skip
        for image, text in captions.items():
            self.run(
                "INSERT INTO captions VALUES (nextval('caption_ids'), ?, ?, ?, ?, 'in', NULL, ?, ?)",
                self.dataset, set_name, image, text, run, MOMENT,
            )  # fmt: skip
        ((last,),) = self.run("SELECT max(caption_id) FROM captions")
        ((before,),) = self.run(
            "SELECT count(*) FROM versions WHERE dataset = ? AND set_name = ?", self.dataset, set_name
        )
        self.run(
            "INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, 'm', 'ana', ?)",
            self.dataset, set_name, before + 1, last, len(captions), sha256_json(dict(captions)), MOMENT,
        )  # fmt: skip
        return f"{set_name}@{before + 1}"
