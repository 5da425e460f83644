"""Ingest against the obvious pipeline, on 1 megapixel JPEGs of its own making; and grouping a million hashes.

Obvious: one file after another, hash it, open it with Pillow, decode in full, turn it upright, composite it on white,
and take the perceptual hash as the common library does (grey, 32x32 by Lanczos, DCT, median). Nothing is stored. The
ratio of processor time stands beside that of wall time: it shows what is saved, not what two cores share.
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps

from curator.catalog import Catalog
from curator.ingest import ingest
from curator.ingest.near_duplicates import group
from tests.bench.table import Row

PICTURES = 400
SIDE_PX = 1024
ROUNDS = 3
HASHES = 1_000_000


def bench() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        size_bytes = make_pictures(pictures)
        catalog = Path(folder) / "lab.duckdb"
        Catalog.create(catalog).close()
        first, again, obvious = medians(
            lambda turn: ingested(catalog, pictures, f"turn-{turn}"),
            lambda turn: ingested(catalog, pictures, f"turn-{turn}"),
            lambda turn: obviously(pictures),
        )
    kilobytes = size_bytes // PICTURES // 1000
    rates = f"{PICTURES / first.wall:.0f} images/s against {PICTURES / obvious.wall:.0f}, {SIDE_PX} px, {kilobytes} kB"
    saved = f"; processor time {obvious.processor / first.processor:.1f}x"
    rows = [
        Row("ingest", "the obvious pipeline", obvious.wall / first.wall, rates + saved),
        Row("ingest again, unchanged", "ingest", first.wall / again.wall, f"{again.wall:.2f} s for {PICTURES} files"),
    ]
    return [*rows, grouping()]


def make_pictures(folder: Path) -> int:
    """Writes JPEGs with the detail of photographs; returns their bytes."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(PICTURES):
        picture = np.zeros((SIDE_PX, SIDE_PX, 3), np.float32)
        for cells, strength in ((4, 60), (16, 30), (64, 15), (256, 12), (SIDE_PX, 5)):
            noise = random.normal(0, strength, (cells, cells, 3)).astype(np.float32)
            picture += cv2.resize(noise, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
        pixels = np.clip(picture + 128, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04}.jpg", quality=90)
    return sum(path.stat().st_size for path in folder.iterdir())


class Seconds(NamedTuple):
    """What a piece of work took."""

    wall: float
    processor: float


def medians(*works: Callable[[int], None]) -> list[Seconds]:
    """Medians of each over a few turns, taken in turn, so that what else the machine does meets all alike."""
    times: list[list[Seconds]] = [[] for _ in works]
    for turn in range(ROUNDS):
        for work, taken in zip(works, times, strict=True):
            wall, processor = time.perf_counter(), time.process_time()
            work(turn)
            taken.append(Seconds(time.perf_counter() - wall, time.process_time() - processor))
    return [Seconds(*(statistics.median(column) for column in zip(*taken, strict=True))) for taken in times]


def ingested(catalog: Path, pictures: Path, dataset: str) -> None:
    with Catalog(catalog) as opened:
        result = ingest(opened, pictures, dataset, person="bench")
    assert result.images == PICTURES and not result.rejects


def obviously(pictures: Path) -> None:
    rows = []
    for path in sorted(pictures.iterdir()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with Image.open(path) as image:
            image.load()
            upright = ImageOps.exif_transpose(image).convert("RGBA")
            white = Image.new("RGBA", upright.size, "white")
            white.alpha_composite(upright)
            small = white.convert("L").resize((32, 32), Image.Resampling.LANCZOS)
            coefficients = cv2.dct(np.asarray(small, np.float32))[:8, :8]
            bits = np.packbits(coefficients > np.median(coefficients))
            rows.append((digest, path.stat().st_size, image.width, image.height, image.format, bits.tobytes()))
    assert len(rows) == PICTURES


def grouping() -> Row:
    """A million hashes, a tenth of them copies with a bit changed, against comparing each with all."""
    random = np.random.default_rng(0)
    hashes = random.integers(0, 1 << 63, HASHES, dtype=np.uint64) & random.integers(0, 1 << 63, HASHES, dtype=np.uint64)
    copies = HASHES // 10
    hashes[-copies:] = hashes[:copies] ^ (np.uint64(1) << random.integers(0, 64, copies, dtype=np.uint64))
    start = time.perf_counter()
    places, _ = group(np.array([], np.uint64), hashes)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    sample = 200
    for value in hashes[:sample]:
        np.flatnonzero(np.bitwise_count(hashes ^ value) <= 2)
    all_against_all = (time.perf_counter() - start) / sample * HASHES
    groups = len(np.unique(places))
    detail = f"1M images in {seconds:.1f} s, {groups:,} groups; all pairs would take {all_against_all:,.0f} s"
    return Row("near-duplicate groups", "comparing all, numpy", all_against_all / seconds, detail)
