"""What it costs to be on another machine: an ingest that sends its pictures, and a snapshot that fetches them, by URL.

    here      the same command beside the catalog's file

Both ends and what else the machine does share its cores, and nothing is between them but loopback: what a network would
add isn't in this. Pictures are 1 megapixel JPEGs, as in `ingest`.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from curator.caption import caption
from curator.caption_sets.versions import commit
from curator.catalog import Catalog
from curator.ingest import ingest
from curator.server.access_tokens import add
from curator.snapshot import snapshot
from tests.bench.ingest import PICTURES, make_pictures
from tests.bench.table import Row
from tests.curator.server.serving import Serving


def bench() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size_bytes = make_pictures(folder / "pictures")
        with here(folder) as catalog:
            ingested, snapped = seconds(folder, catalog, "here"), exported(folder, catalog, "here")
        with far(folder) as catalog:
            sent, known = seconds(folder, catalog, "sent"), seconds(folder, catalog, "known")
            again = seconds(folder, catalog, "known")
            fetched, cached = exported(folder, catalog, "sent"), exported(folder, catalog, "sent", "cached")
    megabytes = size_bytes / 1e6
    return [
        Row(
            "ingest, sent",
            "ingest here",
            ingested / sent,
            f"{PICTURES / sent:.0f} images/s, {megabytes / sent:.0f} MB/s",
        ),
        Row("ingest, nothing lacking", "ingest here", ingested / known, f"{PICTURES / known:.0f} images/s"),
        Row("ingest again, unchanged", "ingest, sent", sent / again, f"{again:.2f} s"),
        Row("snapshot, fetched", "snapshot here", snapped / fetched, f"{megabytes / fetched:.0f} MB/s"),
        Row("snapshot, in the cache", "snapshot, fetched", fetched / cached, f"{cached:.2f} s"),
    ]


@contextmanager
def here(folder: Path) -> Iterator[Catalog]:
    with Catalog.create(folder / "here.duckdb") as catalog:
        yield catalog


@contextmanager
def far(folder: Path) -> Iterator[Catalog]:
    with Catalog.create(folder / "far.duckdb") as catalog:
        os.environ["CURATOR_TOKEN"] = add(catalog, "bench", "write", None, "bench").token
    os.environ["AMATL_CACHE"] = str(folder / "cache")
    serving = Serving(folder / "far.duckdb", "--require-token")
    with Catalog(serving.facts["url"]) as catalog:
        yield catalog
    serving.stop()


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def seconds(folder: Path, catalog: Catalog, dataset: str) -> float:
    """Of an ingest."""
    return timed(lambda: ingest(catalog, folder / "pictures", dataset, person="bench"))


def exported(folder: Path, catalog: Catalog, dataset: str, name: str = "") -> float:
    """Seconds of a snapshot of all its pictures."""
    if not name:
        caption(catalog, dataset, "fixed", "all", {"text": "a picture"}, person="bench")
        commit(catalog, f"{dataset}/all", "bench")
    return timed(lambda: snapshot(catalog, [f"{dataset}/all@1"], folder / f"out-{dataset}-{name}"))
