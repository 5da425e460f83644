"""Exporting a snapshot against the obvious way (copy each file, a JSON line each), and the same with verification."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from curator.catalog import Catalog
from curator.snapshot import Holdout, snapshot
from tests.bench.table import Row

IMAGES = 600
ROUNDS = 5
BYTES = 270_000  # a JPEG of 1024 px; the exporter never decodes, so noise does
MOMENT = "2026-11-23T12:00:00Z"
CAPTION = "a photograph of something that takes about this many words to describe, number {}"


def bench() -> list[Row]:
    """Images a second: copying, linking, and a second time."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        images = _pictures(folder / "images")
        with Catalog.create(folder / "lab.duckdb") as catalog:
            _fill(catalog, images)
            export = partial(snapshot, catalog, ["text@1", "empty@1"], holdout=Holdout(count=100))
            export(folder / "again")  # also warms the page cache and imports
            work: dict[str, Callable[[Path], object]] = {
                "plain": partial(_obvious, images, False),
                "verified": partial(_obvious, images, True),
                "copied": export,
                "linked": partial(export, link=True),
                "again": lambda _: export(folder / "again"),
            }
            seconds = {name: min(times) for name, times in _interleaved(work, folder).items()}
    plain, verified, copied, linked, again = seconds.values()
    return [
        Row("snapshot", "copy + json, hashing", verified / copied, _rate(copied)),
        Row("snapshot", "copy + json, unverified", plain / copied, f"{_rate(plain)} there"),
        Row("snapshot --link", "copy + json, hashing", verified / linked, _rate(linked)),
        Row("snapshot, already there", "copy + json, hashing", verified / again, f"{again * 1000:.0f} ms"),
    ]


def _rate(seconds: float) -> str:
    return f"{IMAGES / seconds:,.0f} images/s of {BYTES // 1000} KB"


def _interleaved(work: dict[str, Callable[[Path], object]], folder: Path) -> dict[str, list[float]]:
    """Seconds of each piece of work in each round: in turn, so that a busy moment hits all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, piece in work.items():
            os.sync()  # the last one's writing isn't this one's
            start = time.perf_counter()
            piece(folder / "out")
            seconds[name].append(time.perf_counter() - start)
            shutil.rmtree(folder / "out", ignore_errors=True)
    return seconds


def _pictures(folder: Path) -> dict[str, Path]:
    folder.mkdir()
    noise = random.Random(0)
    images = {}
    for number in range(IMAGES):
        content = noise.randbytes(BYTES)
        path = folder / f"{number}.png"
        path.write_bytes(content)
        images[hashlib.sha256(content).hexdigest()] = path
    return images


def _obvious(images: dict[str, Path], verify: bool, out: Path) -> None:
    """What a script does: a shuffle, a copy each, a line each; with `verify` each copy's hash is checked."""
    order = list(images)
    random.Random(0).shuffle(order)
    for split, part in (("validation", order[:100]), ("train", order[100:])):
        (out / split).mkdir(parents=True)
        with (out / split / "metadata.jsonl").open("w") as file:
            for number, sha256 in enumerate(part):
                target = out / split / f"{sha256[:16]}.png"
                shutil.copy(images[sha256], target)
                if verify and hashlib.sha256(target.read_bytes()).hexdigest() != sha256:
                    raise ValueError(target)
                file.write(json.dumps({"file_name": target.name, "text": CAPTION.format(number)}) + "\n")


def _fill(catalog: Catalog, images: dict[str, Path]) -> None:
    """The catalog as ingest, caption and commit would leave it, in bulk."""
    rows = pl.DataFrame({"sha256": list(images), "path": [str(path) for path in images.values()]}).with_row_index("n")
    cursor = catalog._connection.cursor()
    cursor.register("rows", rows)
    cursor.execute(f"INSERT INTO datasets VALUES ('bench', '{MOMENT}')")
    cursor.execute(f"INSERT INTO images SELECT sha256, {BYTES}, 1024, 1024, 'png', false, 1, n FROM rows")
    cursor.execute(
        "INSERT INTO files SELECT n, 'bench', path, path, sha256, 1, 1, '{}', NULL, 'CC0', false, 1 FROM rows"
    )
    cursor.execute("INSERT INTO near_duplicates SELECT 'bench', sha256, sha256, 0 FROM rows")
    for run, (name, text) in enumerate((("text", CAPTION), ("empty", ""))):
        cursor.execute(
            "INSERT INTO caption_runs VALUES (?, 'bench', ?, 'fixed', 1, '{}', NULL, NULL, false, 'me', NULL, NULL, ?)",
            [run, name, MOMENT],
        )
        cursor.execute(
            "INSERT INTO captions SELECT ? * 1000000 + n, 'bench', ?, sha256, replace(?, '{}', n::VARCHAR), 'in', NULL,"
            " ?, ? FROM rows",
            [run, name, text, run, MOMENT],
        )
        cursor.execute(
            "INSERT INTO versions VALUES ('bench', ?, 1, ?, ?, ?, '', 'me', ?)",
            [name, (run + 1) * 1_000_000, IMAGES, "0" * 64, MOMENT],
        )
    cursor.close()
