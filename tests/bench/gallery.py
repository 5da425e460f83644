"""Pages and searches of 680,000 images with three caption sets, by the API and as people see them, after edits too.

The baselines are what DuckDB alone takes:

    offset    a page of the view of a dataset's images, by OFFSET
    ilike     the images with a text in their captions of now, by ILIKE over the last revision of each

The number is that of Waifu Diffusion 1.3's pictures. 95th percentiles; every search looks for another text.
"""

from __future__ import annotations

import random
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
from fastapi.testclient import TestClient

from curator.caption_sets.versions import commit
from curator.catalog import Catalog
from curator.cli import main
from curator.server import Settings, create_app
from tests.bench.table import Row

IMAGES = 680_000
REQUESTS = 120
VIEWS = 20  # of each page that people see
BASELINE = 8
WORDS = [
    "a",
    "fox",
    "dog",
    "cat",
    "bird",
    "tree",
    "house",
    "snow",
    "red",
    "blue",
    "green",
    "old",
    "young",
    "painting",
    "photograph",
    "hat",
    "standing",
    "sitting",
    "watercolor",
    "night",
    "day",
    "city",
    "forest",
    "mountain",
    "sea",
    "boat",
    "car",
    "man",
    "woman",
    "child",
    "flower",
    "sky",
]
SETS = (("template", 1), ("blip", 1), ("human", 1), ("human", 5))  # the last: a second revision of every fifth

OFFSET = """
SELECT image_sha256, file_name, metadata FROM dataset_images WHERE dataset = 'large'
ORDER BY first_file_id LIMIT 50 OFFSET {}
"""
ILIKE = """
SELECT c.image_sha256, c.text FROM captions AS c
JOIN (
    SELECT max(caption_id) AS caption_id FROM captions WHERE dataset = 'large' GROUP BY set_name, image_sha256
) AS latest ON latest.caption_id = c.caption_id
WHERE c.text ILIKE '%{}%' ORDER BY c.image_sha256 LIMIT 50
"""
BASE = "http://127.0.0.1:8400"


def fill(path: Path) -> None:
    """A catalog of `IMAGES` images without bytes; 1 in 50 has new metadata, of those every fourth is gone again."""
    Catalog.create(path).close()
    with duckdb.connect(str(path)) as database:
        run = database.execute
        run("INSERT INTO datasets VALUES ('large', now())")
        run(f"CREATE TEMP TABLE numbered AS SELECT i, sha256(i::VARCHAR) AS sha FROM range({IMAGES}) AS t(i)")
        run(
            """INSERT INTO images SELECT sha, 100000 + i, 512 + (hash(i) % 1536)::INT, 512 + (hash(i + 1) % 1536)::INT,
            'jpeg', false, if(i % 20 = 0, 6, 1), hash(i) FROM numbered ORDER BY i"""
        )
        path_of = "'/photos/' || (i // 1000) || '/' || i || '.jpg', (i // 1000) || '/' || i || '.jpg'"
        run(
            f"""INSERT INTO files SELECT i + 1, 'large', {path_of}, sha, 100000, 1,
            '{{"group":"g' || (i % 40) || '","rating":' || (i % 5) || ',"title":"picture ' || i || '"}}', NULL,
            if(i % 3 = 0, 'CC0', 'CC BY'), false, 1 FROM numbered ORDER BY i"""
        )
        run(
            f"""INSERT INTO files SELECT {IMAGES} + row_number() OVER (ORDER BY i), 'large', {path_of}, sha, 100000, 1,
            '{{"group":"new"}}', NULL, 'CC0', i % 200 = 0, 2 FROM numbered WHERE i % 50 = 0"""
        )
        run("INSERT INTO near_duplicates SELECT 'large', sha, sha, 0 FROM numbered ORDER BY i")
        run(
            """INSERT INTO splits SELECT 'large', sha, if(i % 10 = 0, 'validation', 'train'), now() FROM numbered
            WHERE i < 400000 ORDER BY i"""
        )
        run("CREATE TEMP TABLE words AS SELECT $1::VARCHAR[] AS w", [WORDS])
        for number, (name, share) in enumerate(SETS, start=1):
            run(
                f"""INSERT INTO caption_runs SELECT nextval('caption_run_ids'), 'large', '{name}', 'fixed', 1, '{{}}',
                NULL, NULL, false, 'ana', NULL, NULL, now()"""
            )
            chosen = f"w[1 + (hash(i * 31 + k * 7 + {number}) % {len(WORDS)})::INT]"
            run(
                f"""INSERT INTO captions SELECT nextval('caption_ids'), 'large', '{name}', sha,
                (SELECT list_aggregate([{chosen} FOR k IN range(12)], 'string_agg', ' ') FROM words) || ' ' || i,
                'in', NULL, {number}, now() FROM numbered WHERE i % {share} = 0 ORDER BY i"""
            )
        run("CHECKPOINT")


def _both(seen: list[float], after: list[float]) -> str:
    return f"p95 {p95(seen):.0f} ms; just after an edit {p95(after):.0f} ms"


def milliseconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def p95(times: list[float]) -> float:
    return sorted(times)[int(0.95 * (len(times) - 1))]


class Client:
    """The API, asked as a program does."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def page(self, **query: Any) -> dict[str, Any]:
        answer = self.client.get("/api/v1/datasets/large/images", params=query)
        if answer.status_code != 200:
            raise AssertionError(answer.text)
        found: dict[str, Any] = answer.json()
        return found

    def see(self, path: str) -> None:
        """A page as a browser gets it."""
        answer = self.client.get(path)
        if answer.status_code != 200:
            raise AssertionError(answer.text)

    def edit(self, sha256: str, text: str) -> None:
        address = f"/api/v1/datasets/large/images/{sha256}/captions/human"
        answer = self.client.put(address, json={"text": text}, headers={"If-Match": "*"})
        if answer.status_code != 200:
            raise AssertionError(answer.text)


def texts(draw: random.Random) -> list[dict[str, Any]]:
    """Searches, no two alike: what many captions have, what few have, what none has; in one set and in any."""
    asked: list[dict[str, Any]] = []
    for number in range(REQUESTS // 3):
        asked.append({"text": " ".join(draw.sample(WORDS, 2)) + f" {number % 10}"})
        asked.append({"text": str(draw.randrange(IMAGES)), "caption_set": draw.choice(["human", "blip"])})
        asked.append({"text": f"no such {draw.choice(WORDS)} {number}"})
    return asked


def filters(draw: random.Random) -> list[dict[str, Any]]:
    """Filters, no two alike."""
    asked: list[dict[str, Any]] = []
    for number in range(REQUESTS // 4):
        asked.append({"min_width": 512 + 40 * number, "split": draw.choice(["train", "validation", "none"])})
        asked.append({"metadata": f"group=g{number % 40}", "min_height": 600 + number})
        asked.append({"caption_set": "human", "min_length": 40 + number, "status": "captioned"})
        asked.append({"where": f"rating >= 3 and license = 'CC0' and width_px > {600 + number}"})
    return asked


def bench() -> list[Row]:
    draw = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lab.duckdb"
        fill(path)
        with (
            Catalog(path) as catalog,
            TestClient(create_app(catalog, Settings(path), main), BASE) as http,
        ):
            return measured(Client(http), catalog, draw)


def measured(client: Client, catalog: Catalog, draw: random.Random) -> list[Row]:
    def sql(statement: str) -> float:
        return milliseconds(lambda: catalog._connection.cursor().sql(statement).to_arrow_table())

    offset = p95([sql(OFFSET.format(draw.randrange(IMAGES))) for _ in range(BASELINE)])
    ilike = p95([sql(ILIKE.format(f"no such {draw.choice(WORDS)}")) for _ in range(BASELINE)])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    first = milliseconds(lambda: client.page(limit=50))
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    pages = [milliseconds(lambda: client.page(after=draw.randrange(IMAGES), limit=50)) for _ in range(REQUESTS)]
    searches = [milliseconds(lambda asked=asked: client.page(**asked)) for asked in texts(draw)]
    for field in ("group=g1", "rating=1"):
        client.page(metadata=field)
    filtered = [milliseconds(lambda asked=asked: client.page(**asked)) for asked in filters(draw)]
    images = client.page(limit=30)["images"]
    edits = [milliseconds(lambda image=image: client.edit(image["sha256"], "a fox")) for image in images]
    after_edit = []
    for image in images:
        client.edit(image["sha256"], "a red fox")
        after_edit.append(milliseconds(lambda: client.page(text="red fox")))
    commit(catalog, "large/human", "so far", "ana")
    one = f"/datasets/large/images/{images[0]['sha256']}"
    views = ["/", "/datasets/large", "/datasets/large?text=fox", one, "/versions", "/sets/large/human"]
    views += ["/datasets/large/compare", "/diff?before=large/human%401"]
    seen: dict[str, list[float]] = {path: [] for path in views}
    after: dict[str, list[float]] = {path: [] for path in views}
    for path in views:
        client.see(path)
        seen[path] = [milliseconds(lambda path=path: client.see(path)) for _ in range(VIEWS)]
        for image in images[:VIEWS]:
            client.edit(image["sha256"], f"seen from {path}")
            after[path].append(milliseconds(lambda path=path: client.see(path)))
    return [
        *(
            Row(
                f"page {path.partition('?')[0][:22]}",
                "OFFSET",
                offset / p95(seen[path]),
                _both(seen[path], after[path]),
            )
            for path in views
        ),
        Row("gallery page", "OFFSET", offset / p95(pages), f"p95 {p95(pages):.0f} ms; OFFSET {offset:.0f} ms"),
        Row("search", "ILIKE", ilike / p95(searches), f"p95 {p95(searches):.0f} ms; ILIKE {ilike:.0f} ms"),
        Row("filters and expressions", "OFFSET", offset / p95(filtered), f"p95 {p95(filtered):.0f} ms"),
        Row("search just after an edit", "ILIKE", ilike / p95(after_edit), f"p95 {p95(after_edit):.0f} ms"),
        Row("an edit", "OFFSET", offset / p95(edits), f"p95 {p95(edits):.0f} ms"),
        Row("the first page of a process", "OFFSET", offset / first, f"{first:.0f} ms, {memory:.0f} MB of memory more"),
    ]
