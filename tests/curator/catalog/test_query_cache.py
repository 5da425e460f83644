"""Answers that are kept: the same as those read anew, whoever changed what."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from curator.caption import caption
from curator.caption_sets.revise import revise
from curator.caption_sets.versions import commit, restore
from curator.catalog import Catalog
from curator.catalog.queries import load_queries, parse
from curator.catalog.query_cache import Kept, table_changed
from tests.curator.fill import add_images, sha
from tests.curator.lab import new_catalog

QUERIES = load_queries()
ASKED: dict[str, Any] = {
    "set_name": "t",
    "last_caption_id": 5,
    "before_caption_id": 2,
    "after_caption_id": 99,
    "snapshot_identity": None,
}
IMAGES = {"sha256": pl.String, "size_bytes": pl.Int64, "width_px": pl.Int32, "height_px": pl.Int32}
IMAGES |= {"format": pl.String, "has_alpha": pl.Boolean, "exif_orientation": pl.UInt8, "phash": pl.UInt64}


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with new_catalog(tmp_path / "lab.duckdb", fill) as opened:
        yield opened


def fill(catalog: Catalog) -> None:
    for dataset in ("zoo", "farm"):
        add_images(catalog, dataset, [{"name": "fox"}, {"name": "owl"}, {}])
        caption(catalog, dataset, "fixed", "t", {"text": "a thing"})


def question(query: str, dataset: str) -> dict[str, Any]:
    return {name: dataset if name == "dataset" else ASKED[name] for name in QUERIES[query].parameters}


def ingested(catalog: Catalog, dataset: str) -> None:
    """A new image, a reject, a path that is gone."""
    file = {"size_bytes": 1, "mtime_ns": 1, "metadata": "{}", "source_url": None, "license": None}
    new = file | {"position": 1, "path": "/images/new.png", "image_sha256": sha(8), "gone": False}
    old = file | {"position": 2, "path": "/images/0000.png", "image_sha256": sha(0), "gone": True}
    files = pl.DataFrame([new, old]).with_columns(file_name=pl.col("path").str.strip_prefix("/images/"))
    image = pl.DataFrame([(sha(8), 1, 64, 48, "png", False, 1, 0)], schema=IMAGES, orient="row")
    reject = {"path": "/images/x", "reason": "corrupt", "detail": "", "size_bytes": 1, "mtime_ns": 1, "resolved": False}
    catalog.add_files(dataset, "/images", 2, image, files, pl.DataFrame([reject]))


def grouped(catalog: Catalog, dataset: str) -> None:
    rows = {"image_sha256": [sha(1), sha(2)], "representative_sha256": [sha(1)] * 2, "distance": [0, 1]}
    catalog.add_near_duplicates(dataset, pl.DataFrame(rows))


def split(catalog: Catalog, dataset: str) -> None:
    rows = pl.DataFrame({"representative_sha256": [sha(1)], "split": ["train"]})
    catalog.store_splits(dataset, rows, "2026-11-26T12:00:00Z")


CHANGES: dict[str, Callable[[Catalog, str], object]] = {
    "ingested": ingested,
    "grouped": grouped,
    "split": split,
    "captioned": lambda catalog, dataset: caption(catalog, dataset, "fixed", "u", {"text": "another"}),
    "edited": lambda catalog, dataset: revise(catalog, dataset, "t", sha(0), "a fox", "ana"),
    "committed": lambda catalog, dataset: commit(catalog, f"{dataset}/t", "more", "ana"),
    "restored": lambda catalog, dataset: restore(catalog, f"{dataset}/t@1", "ana"),
    "a snapshot": lambda catalog, dataset: catalog.add_snapshot("i", "m", dataset, "/s", "{}", 1, "ana"),
    "a run": lambda catalog, _: catalog.add_run_report("d", "k", "n", "i", "c", "done", "{}", "ana"),
}


def test_a_kept_answer_is_what_would_be_read_now(catalog: Catalog) -> None:
    commit(catalog, "zoo/t", "first", "ana")
    revise(catalog, "zoo", "t", sha(2), "an owl", "ana")
    kept = [query for query in QUERIES.values() if query.kept]
    questions = [(query, question(query.name, dataset)) for query in kept for dataset in ("zoo", "farm")]
    for name, change in CHANGES.items():
        for query, parameters in questions:
            catalog._rows(query.name, None, parameters)
        change(catalog, "zoo")
        for query, parameters in questions:
            answer = catalog._rows(query.name, None, parameters)
            assert answer.equals(catalog._read_rows(query, None, parameters)), (name, query.name)


def test_a_change_of_one_dataset_leaves_what_is_kept_of_another(catalog: Catalog) -> None:
    before = {name: catalog._rows("dataset_counts", None, {"dataset": name}) for name in ("zoo", "farm")}
    ingested(catalog, "zoo")
    assert catalog._rows("dataset_counts", None, {"dataset": "farm"}) is before["farm"]
    assert catalog._rows("dataset_counts", None, {"dataset": "zoo"}) is not before["zoo"]


def test_a_change_that_adds_no_row_leaves_all_that_is_kept(catalog: Catalog) -> None:
    before = catalog._rows("dataset_names", None, {})
    grouped(catalog, "zoo")
    ingested(catalog, "zoo")  # a dataset that is there
    assert catalog._rows("dataset_names", None, {}) is before


def test_what_was_read_before_a_change_isnt_kept_after_it(catalog: Catalog) -> None:
    query, parameters = QUERIES["dataset_counts"], {"dataset": "zoo"}
    stamp, _ = catalog._kept.answer(query, parameters)
    overtaken = catalog._read_rows(query, None, parameters)
    ingested(catalog, "zoo")
    catalog._kept.keep(query, parameters, stamp, overtaken)
    assert catalog.dataset_counts("zoo")["rejects"] == 1


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, [True] * 6),
        ({"dataset": "zoo"}, [False, False, True, True, True, True]),
        ({"dataset": "zoo", "set_name": "t"}, [False, False, False, True, True, True]),
        ({"dataset": None, "set_name": "t"}, [True] * 6),
    ],
)
def test_a_change_of_a_wider_scope_is_one_of_each_in_it(asked: dict[str, Any], expected: list[bool]) -> None:
    connection = duckdb.connect()
    connection.execute("CREATE TABLE captions (dataset VARCHAR, set_name VARCHAR)")
    connection.execute("CREATE VIEW shown AS SELECT * FROM captions")
    kept = Kept(connection)
    (query,) = parse("-- name: q (kept)\n-- Some.\nSELECT * FROM shown;", "captions")
    changes = [("farm", None), ("farm", "t"), ("zoo", "u"), ("zoo", "t"), ("zoo", None), (None, None)]
    found = []
    for dataset, set_name in changes:
        before = kept.answer(query, asked)[0]
        kept.changed(["captions"], {"dataset": dataset, "set_name": set_name, "person": "ana"})
        found.append(kept.answer(query, asked)[0] != before)
    assert found == expected


def test_the_tables_of_a_kept_query_are_those_that_duckdb_finds(catalog: Catalog) -> None:
    cursor, kept = catalog._connection.cursor(), catalog._kept
    for query in QUERIES.values():
        if query.kept:
            named = cursor.get_table_names(re.sub(r"\$\w+", "NULL", query.sql))
            views = named & kept._views.keys()
            plans = [cursor.execute(f"EXPLAIN SELECT * FROM {view}").fetchall()[0][1] for view in views]
            named |= {table for table in kept._tables for plan in plans if re.search(rf"\b{table}\b", plan)}
            assert set(kept._tables_of(query)) == named & kept._tables, query.name


def test_large_answers_arent_kept(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curator.catalog.query_cache.LARGEST_BYTES", 1)
    catalog._kept._answers.clear()
    assert catalog._rows("dataset_names", None, {}) is not catalog._rows("dataset_names", None, {})


def test_the_table_of_every_change_can_be_told() -> None:
    tables = {
        table_changed(statement.query)
        for query in QUERIES.values()
        if query.changes
        for statement in duckdb.connect().extract_statements(query.sql)
    }
    assert tables > {"files", "captions", "versions"}
    with pytest.raises(ValueError, match="no table"):
        table_changed("CREATE TABLE x (y INTEGER)")


def test_no_kept_answer_depends_on_the_time_or_gives_something_out() -> None:
    for query in QUERIES.values():
        assert not query.kept or not any(word in query.sql for word in ("now()", "nextval", "random", "FROM rows"))
