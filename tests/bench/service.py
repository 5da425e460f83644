"""The service under load: how long pages take while a job ingests, and while many read and one writes.

    quiet     the same requests of the same service with nothing else going on

One client asks in turn for what a person's browser and a program ask for, of a dataset of 20,000 images and of the one
that is being ingested; then 200 ask at once, while captions are written. 95th percentiles, over HTTP on loopback; the
ingest is a job, a process. Beside them the processor time that the service took, which other work on the machine
doesn't make longer, and the load average.
"""

from __future__ import annotations

import http.client
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import simplejpeg

from curator.catalog import Catalog
from tests.bench.table import Row
from tests.curator.server.serving import Serving

KNOWN = 20_000
NEW = 100_000
READERS = 200
READS_EACH = 5
QUIET_ROUNDS = 10
SIDE_PX = 64
# Small files take longer to make and to delete than to ingest; just written, they are in memory wherever they lie.
IN_MEMORY = Path("/dev/shm")
PICTURES_BYTES = 2 * 2**30
PAGES = (
    "/api/v1/datasets",
    "/api/v1/datasets/known/images?limit=60",
    "/api/v1/datasets/known/images?limit=60&text=fox",
    "/api/v1/jobs",
)
PEOPLES_PAGES = (
    "/",
    "/datasets/known",
    "/datasets/known?text=fox",
    "/datasets/known/images/{image}",
    "/datasets/new",
    "/versions",
    "/sets/known/fixed",
    "/datasets/known/compare",
    "/diff?before=known/fixed%401",
    "/jobs",
)


@dataclass
class Taken:
    """Milliseconds by page, and the service's processor time for all of them."""

    pages: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    cpu_seconds: float = 0

    @property
    def all(self) -> list[float]:
        return [one for taken in self.pages.values() for one in taken]

    @property
    def p95(self) -> float:
        return p95(self.all)

    @property
    def slowest(self) -> str:
        """The page with the highest p95, and that."""
        page = max(self.pages, key=lambda name: p95(self.pages[name]))
        return f"slowest {page.partition('?')[0][:24]} {p95(self.pages[page]):.0f} ms"

    @property
    def cpu(self) -> float:
        """Milliseconds of processor time a request."""
        return self.cpu_seconds * 1000 / len(self.all)


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
    return statistics.quantiles(milliseconds, n=20)[-1] if len(milliseconds) > 1 else milliseconds[0]


def while_it_lasts(serving: Serving, pages: list[str], going: Callable[[], bool]) -> Taken:
    """Asks for page after page, twenty a second at most."""
    taken, begun = Taken(), cpu_seconds(serving.process.pid)
    while going():
        for path in pages:
            taken.pages[path].append(asked(serving.client, path))
            time.sleep(0.05)
    taken.cpu_seconds = cpu_seconds(serving.process.pid) - begun
    return taken


def many_readers(serving: Serving) -> Taken:
    """All at once, each its own connection; by the plainest client, so that it is the service that is measured."""
    taken, begun = Taken(), cpu_seconds(serving.process.pid)
    host = serving.facts["url"].removeprefix("http://")

    def reader(number: int) -> None:
        connection = http.client.HTTPConnection(host, timeout=120)
        for turn in range(READS_EACH):
            path = PAGES[(number + turn) % len(PAGES)]
            asking = time.perf_counter()
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, (path, answer.status)
            taken.pages[path].append((time.perf_counter() - asking) * 1000)
        connection.close()

    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(reader, range(READERS)))
    taken.cpu_seconds = cpu_seconds(serving.process.pid) - begun
    return taken


def cpu_seconds(pid: int) -> float:
    """What a process has used of the processors, of itself and of the system for it (proc(5))."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def writing(catalog_path: Path, stop: threading.Event, made: list[int]) -> None:
    """Changes captions by the remote catalog, set after set, until told to stop."""
    from curator.caption import caption

    with Catalog(catalog_path) as catalog:
        while not stop.is_set():
            options = [f"text=number {len(made)}"]
            caption(catalog, "known", "fixed", "busy", options, person="bench", limit=1000)
            made.append(1)


def bench() -> list[Row]:
    in_memory = IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > PICTURES_BYTES
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory(dir=IN_MEMORY if in_memory else None) as pictures_folder,
    ):
        return _bench(Path(folder) / "lab.duckdb", Path(pictures_folder))


def _bench(catalog: Path, folder: Path) -> list[Row]:
    _fill(folder, catalog)
    serving = Serving(catalog)
    try:
        pages = _pages(serving)
        rounds = iter(range(QUIET_ROUNDS))
        quiet = while_it_lasts(serving, pages, lambda: next(rounds, None) is not None)
        begun = time.monotonic()
        job = serving.start_job("ingest", str(folder / "new"), "--dataset", "new")
        during = while_it_lasts(serving, pages, lambda: _status(serving, job["id"]) == "running")
        seconds, load = time.monotonic() - begun, os.getloadavg()[0]
        assert _status(serving, job["id"]) == "done", serving.client.get(f"/api/v1/jobs/{job['id']}").text
        alone = many_readers(serving)
        stop, made = threading.Event(), list[int]()
        writer = threading.Thread(target=writing, args=(catalog, stop, made))
        writer.start()
        while writer.is_alive() and not made:
            time.sleep(0.1)
        begun = time.monotonic()
        crowd = many_readers(serving)
        a_second = len(crowd.all) / (time.monotonic() - begun)
        stop.set()
        writer.join()
    finally:
        serving.stop()
    return [
        Row(
            f"a page while {NEW:,} images are ingested",
            "quiet",
            during.p95 / quiet.p95,
            f"p95 {during.p95:.0f} ms of {len(during.all)}, most {max(during.all):.0f} ms, {during.slowest}; quiet "
            f"{quiet.p95:.0f} ms, {quiet.slowest}, {quiet.cpu:.1f} ms of CPU each; ingest {NEW / seconds:,.0f} "
            f"images/s; load {load:.1f}",
        ),
        Row(
            f"{READERS} readers at once while one writes",
            "the same readers, nobody writing",
            crowd.p95 / alone.p95,
            f"p95 {crowd.p95:.0f} ms of {len(crowd.all)}, {a_second:.0f} a second, none failed, {len(made)} times "
            f"1,000 captions written; alone {alone.p95:.0f} ms, {alone.cpu:.1f} ms of CPU each; "
            f"load {os.getloadavg()[0]:.1f}",
        ),
    ]


def _fill(folder: Path, catalog: Path) -> None:
    """`known`, with a version and captions since; `new`, of one picture so far."""
    pictures(folder / "known", KNOWN, 1)
    pictures(folder / "first", 1, 3)
    pictures(folder / "new", NEW, 2)
    _curator(catalog, "init", str(catalog))
    _curator(catalog, "ingest", str(folder / "known"), "--dataset", "known")
    _curator(catalog, "ingest", str(folder / "first"), "--dataset", "new")
    make = ("caption", "known", "--strategy", "fixed", "--set", "fixed", "-o")
    _curator(catalog, *make, "text=a fox in the snow")
    _curator(catalog, "commit", "known/fixed", "-m", "first")
    _curator(catalog, *make, "text=a red fox in the snow", "--where", "width_px > 0", "--limit", "1000")


def _pages(serving: Serving) -> list[str]:
    """What is asked for in turn; the first time of each isn't counted."""
    [first] = serving.client.get("/api/v1/datasets/known/images?limit=1").json()["images"]
    pages = [page.format(image=first["sha256"]) for page in (*PAGES, *PEOPLES_PAGES)]
    for page in pages:
        asked(serving.client, page)
    return pages


def _status(serving: Serving, job: str) -> str:
    return str(serving.client.get(f"/api/v1/jobs/{job}").json()["status"])


def _curator(catalog: Path, *words: str) -> None:
    more = [] if words[0] == "init" else ["--catalog", str(catalog)]
    subprocess.run([sys.executable, "-m", "curator", *words, *more], check=True, capture_output=True)
