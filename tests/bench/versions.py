"""Recaptioning, committing and comparing a million captions; the baseline of the last two: Python dicts in memory."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from curator.caption import caption
from curator.caption_sets.diff import diff
from curator.caption_sets.versions import commit
from curator.catalog import Catalog
from tests.bench.table import Row
from tests.curator.fill import add_images

IMAGES = 1_000_000
CHANGED = 10_000


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def with_dicts(before: pl.DataFrame, after: pl.DataFrame) -> tuple[float, float]:
    """Seconds for the digest of `after`, and for the difference of the two, of captions that are in memory already."""
    old, new = dict(before.iter_rows()), dict(after.iter_rows())
    _, digest = timed(lambda: hashlib.sha256(json.dumps(sorted(new.items())).encode()).hexdigest())

    def compare() -> list[tuple[str, str | None, str | None]]:
        return [(key, old.get(key), new.get(key)) for key in old.keys() | new.keys() if old.get(key) != new.get(key)]

    changes, seconds = timed(compare)
    if len(changes) != CHANGED:
        raise AssertionError("the two versions don't differ as they should")
    return digest, seconds


def bench() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder, Catalog.create(Path(folder) / "lab.duckdb") as catalog:
        add_images(catalog, "big", [{"name": f"red fox {number}", "kind": "animal"} for number in range(IMAGES)])
        options = {"template": "drawing of ${name}, ${kind}"}
        _, captioning = timed(lambda: caption(catalog, "big", "template", "t", options))
        _, first = timed(lambda: commit(catalog, "t", "first"))
        add_images(catalog, "big", [{"name": f"owl {number}"} for number in range(CHANGED)])
        again, recaptioning = timed(lambda: caption(catalog, "big", "template", "t", options))
        _, second = timed(lambda: commit(catalog, "t", "second"))
        result, comparing = timed(lambda: diff(catalog, "t@1", "t@2"))
        if (again.changed, result.changed, result.unchanged) != (CHANGED, CHANGED, IMAGES - CHANGED):
            raise AssertionError("not what was changed")
        texts = [catalog.caption_texts("big", "t", last).select("image_sha256", "text") for last in (IMAGES, None)]
        digest, compared = with_dicts(*texts)
    dicts = f"dicts in memory {digest:.2f} s"
    rate = f"{recaptioning:.1f} s; all {captioning:.1f} s, {IMAGES / captioning:,.0f} captions/s into the catalog"
    return [
        Row("recaption 10,000 of 1M", "caption all 1M", captioning / recaptioning, rate),
        Row(
            "commit 1M", "sort, JSON, sha256 of a dict", digest / first, f"{first:.2f} s, again {second:.2f} s; {dicts}"
        ),
        Row(
            "diff of 1M, 10,000 changed",
            "dicts in memory",
            compared / comparing,
            f"{comparing:.2f} s; dicts {compared:.2f} s",
        ),
    ]
