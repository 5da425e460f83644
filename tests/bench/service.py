"""The service under load: how long pages of the API take while a job ingests, and while many read and one writes.

    quiet     the same requests of the same service with nothing else going on

One client asks for a page of images, a search, the datasets and the jobs in turn, as a person's browser would; then 200
ask at once, while captions are written. 95th percentiles, over HTTP on loopback; the ingest is a job, a process.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import simplejpeg

from curator.catalog import Catalog
from tests.bench.table import Row
from tests.server.serving import Serving

KNOWN = 20_000
NEW = 100_000
READERS = 200
READS_EACH = 5
QUIET_REQUESTS = 200
SIDE_PX = 64
PAGES = (
    "/api/v1/datasets",
    "/api/v1/datasets/known/images?limit=60",
    "/api/v1/datasets/known/images?limit=60&text=fox",
    "/api/v1/jobs",
)


def pictures(folder: Path, count: int, seed: int) -> None:
    """Small JPEGs, all different."""
    folder.mkdir()
    generator = np.random.default_rng(seed)
    for number in range(count):
        pixels = generator.integers(0, 255, (8, 8, 3), dtype=np.uint8).repeat(SIDE_PX // 8, 0).repeat(SIDE_PX // 8, 1)
        place = folder / f"{number // 1000:04}"
        if number % 1000 == 0:
            place.mkdir()
        (place / f"{number:06}.jpg").write_bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), 85))


def asked(client: httpx.Client, path: str) -> float:
    """Milliseconds until a page is there."""
    begun = time.perf_counter()
    client.get(path).raise_for_status()
    return (time.perf_counter() - begun) * 1000


def p95(milliseconds: list[float]) -> float:
    return statistics.quantiles(milliseconds, n=20)[-1]


def while_it_lasts(client: httpx.Client, going: Callable[[], bool]) -> list[float]:
    """Asks for page after page, ten a second at most."""
    taken: list[float] = []
    while going():
        for path in PAGES:
            taken.append(asked(client, path))
            time.sleep(0.1)
    return taken


def many_readers(url: str) -> list[float]:
    """All at once, each its own client."""

    def reader(number: int) -> list[float]:
        with httpx.Client(base_url=url, timeout=120) as client:
            return [asked(client, PAGES[(number + turn) % len(PAGES)]) for turn in range(READS_EACH)]

    with ThreadPoolExecutor(READERS) as pool:
        return [one for taken in pool.map(reader, range(READERS)) for one in taken]


def writing(catalog_path: Path, stop: threading.Event, made: list[int]) -> None:
    """Changes captions by the remote catalog, set after set, until told to stop."""
    from curator.caption import caption

    with Catalog(catalog_path) as catalog:
        while not stop.is_set():
            options = [f"text=number {len(made)}"]
            caption(catalog, "known", "fixed", "busy", options, person="bench", limit=1000)
            made.append(1)


def bench() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        return _bench(Path(folder))


def _bench(folder: Path) -> list[Row]:
    catalog = folder / "lab.duckdb"
    pictures(folder / "known", KNOWN, 1)
    pictures(folder / "new", NEW, 2)
    _curator(catalog, "init", str(catalog))
    _curator(catalog, "ingest", str(folder / "known"), "--dataset", "known")
    text = "text=a fox in the snow"
    _curator(catalog, "caption", "known", "--strategy", "fixed", "--set", "fixed", "-o", text)
    serving = Serving(catalog)
    try:
        asked(serving.client, PAGES[2])
        asks = iter(range(QUIET_REQUESTS // len(PAGES)))
        quiet = while_it_lasts(serving.client, lambda: next(asks, None) is not None)
        begun = time.monotonic()
        job = serving.start_job("ingest", str(folder / "new"), "--dataset", "new")
        running: Callable[[], bool] = lambda: (  # noqa: E731
            serving.client.get(f"/api/v1/jobs/{job['id']}").json()["status"] == "running"
        )
        during = while_it_lasts(serving.client, running)
        seconds = time.monotonic() - begun
        ended = serving.client.get(f"/api/v1/jobs/{job['id']}").json()
        assert ended["status"] == "done", ended
        alone = many_readers(serving.facts["url"])
        stop, made = threading.Event(), list[int]()
        writer = threading.Thread(target=writing, args=(catalog, stop, made))
        writer.start()
        crowd = many_readers(serving.facts["url"])
        stop.set()
        writer.join()
    finally:
        serving.stop()
    return [
        Row(
            f"a page while {NEW:,} images are ingested",
            "quiet",
            p95(during) / p95(quiet),
            f"p95 {p95(during):.0f} ms of {len(during)}, most {max(during):.0f} ms; quiet {p95(quiet):.0f} ms; "
            f"ingest {NEW / seconds:,.0f} images/s",
        ),
        Row(
            f"{READERS} readers at once while one writes",
            "the same readers, nobody writing",
            p95(crowd) / p95(alone),
            f"p95 {p95(crowd):.0f} ms of {len(crowd)}, none failed, {len(made)} times 1,000 captions written; "
            f"alone {p95(alone):.0f} ms",
        ),
    ]


def _curator(catalog: Path, *words: str) -> None:
    more = [] if words[0] == "init" else ["--catalog", str(catalog)]
    subprocess.run([sys.executable, "-m", "curator", *words, *more], check=True, capture_output=True)
