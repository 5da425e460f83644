"""Catalog RPC: which queries change data, faithful types, malformed requests."""

from __future__ import annotations

import inspect
import json
import threading
from io import BytesIO

import duckdb
import polars as pl
import pytest
from fastapi.testclient import TestClient
from polars.testing import assert_frame_equal

from curator.caption_sets.versions import versions
from curator.catalog import Catalog
from curator.catalog.queries import load_queries
from curator.catalog.wire import ARROW, decode_frame, decode_rows, dialect, encode_frame, encode_rows
from schemas.errors import BadDocument
from tests.curator.lab import Lab

SELECTS = {duckdb.StatementType.SELECT}


@pytest.mark.parametrize("name", sorted(load_queries()))
def test_a_query_is_a_change_where_duckdb_and_its_method_say_so(name: str) -> None:
    query = load_queries()[name]
    kinds = {statement.type for statement in duckdb.extract_statements(query.sql)}
    assert query.changes == (kinds != SELECTS)
    method = getattr(Catalog, name)  # Of a change it may be what `@change` makes of a signature.
    called = {*method.__code__.co_names, *inspect.unwrap(method).__code__.co_names}
    assert query.changes == ("_write" in called)
    assert query.scope == ("write" if query.changes or "nextval" in query.sql else "read")


def test_rows_and_tables_keep_their_types() -> None:
    frame = pl.DataFrame(
        {
            "text": ["a", None],
            "hash": pl.Series([2**64 - 1, 0], dtype=pl.UInt64),
            "real": [0.1, float("nan")],
            "flag": [True, None],
            "list": [["é", None], []],
            "nothing": pl.Series([None, None], dtype=pl.Int32),
        }
    )
    assert_frame_equal(decode_frame("rows", BytesIO(encode_frame(frame))), frame)
    with duckdb.connect() as connection:
        table = connection.sql(
            "SELECT 1::UTINYINT a, NULL::VARCHAR b, [1, 2] c, 'x' d FROM range(200000)"
        ).to_arrow_table()
    for compressed in (False, True):
        assert decode_rows(b"".join(encode_rows(table, compressed))).equals(table)


def call(client: TestClient, name: str, parameters: object = None, **parts: bytes) -> tuple[int, str]:
    files = {part: (part, content, ARROW) for part, content in parts.items()}
    if parameters is not None:
        files["parameters"] = ("parameters", json.dumps(parameters).encode(), "application/json")
    answer = client.post(f"/catalog/{name}", files=files or {"other": ("other", b"", ARROW)})
    return answer.status_code, "" if answer.is_success else answer.json()["detail"]


def test_rows_come_as_they_would_here(client: TestClient, lab: Lab) -> None:
    answer = client.post("/catalog/versions", files={"parameters": ("parameters", b"{}", "application/json")})
    assert_frame_equal(pl.DataFrame(pl.from_arrow(decode_rows(answer.content))), lab.catalog.versions())
    assert client.get("/catalog").json()["dialect"] == dialect()


def test_what_a_program_of_ours_doesnt_send_is_refused(client: TestClient, lab: Lab) -> None:
    good = {"dataset": "zoo"}
    assert call(client, "images_of_dataset", good)[0] == 200
    assert call(client, "drop_everything", {}) == (
        404,
        "drop_everything: unknown query. Update the older of the two programs.",
    )
    for parameters, says in (({}, "takes ['dataset']"), ([], "not a JSON object"), (None, "missing in the form")):
        status, detail = call(client, "images_of_dataset", parameters)
        assert (status, says in detail) == (422, True), detail
    for value in ({"a": 1}, [1], 2**80, "x" * 10_000, "'; DROP TABLE images; --", None):
        for query in ("caption_coverage", "dataset_counts"):
            status, detail = call(client, query, {"dataset": value})
            assert status in {200, 422}, detail
    assert call(client, "names_of_images", good)[0] == 422
    assert call(client, "names_of_images", good, rows=b"not arrow")[0] == 422
    whole = encode_frame(pl.DataFrame({"image_sha256": ["a" * 64] * 100}))
    for place in range(0, len(whole), 23):
        broken = whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
        assert call(client, "names_of_images", good, rows=broken)[0] in {200, 422}
    assert lab.catalog.dataset_counts("zoo")["images"] == 6


def test_what_another_process_writes_is_seen_at_once_by_whoever_looked_before(client: TestClient, lab: Lab) -> None:
    def seen() -> tuple[list[tuple[str, int]], list[tuple[str, int, int]], int]:
        [zoo] = client.get("/api/v1/datasets").json()["datasets"]
        lines = versions(lab.catalog).sets
        assert ("fresh" in client.get("/versions").text) == any(line.set_name == "fresh" for line in lines)
        found = client.get("/api/v1/datasets/zoo/images", params={"text": "a walrus"}).json()["total"]
        return (
            [(one["set_name"], one["captions"]) for one in zoo["sets"]],
            [(one.set_name, one.uncommitted, len(one.versions)) for one in lines],
            found,
        )

    assert seen() == ([("human", 5), ("template", 6)], [("human", 1, 1), ("template", 0, 1)], 0)
    run = {
        "run_id": 900,
        "dataset": "zoo",
        "set_name": "fresh",
        "strategy": "fixed",
        "strategy_version": 1,
        "options": "{}",
    }
    run |= {"model": None, "model_revision": None, "by_person": False, "person": "ben", "restored_from": None}
    image = lab.catalog.images_of_dataset("zoo")["image_sha256"][0]
    rows = pl.DataFrame({"image_sha256": [image], "text": ["a walrus"], "inputs_digest": ["x"], "parent_id": [None]})
    failures = pl.DataFrame(schema={"image_sha256": pl.String, "reason": pl.String})
    sources = pl.DataFrame(schema={"set_name": pl.String, "number": pl.Int32, "last_caption_id": pl.Int64})
    tables = {"rows": rows, "failures": failures, "sources": sources}
    frames = {name: encode_frame(frame) for name, frame in tables.items()}
    assert call(client, "add_captions", run | {"restored_by": None}, **frames) == (204, "")
    sets = [("fresh", 1), ("human", 5), ("template", 6)]
    assert seen() == (sets, [("fresh", 1, 0), ("human", 1, 1), ("template", 0, 1)], 1)
    last = lab.catalog.caption_sets().filter(set_name="fresh")["last_caption_id"].item()
    version = {"dataset": "zoo", "set_name": "fresh", "last_caption_id": last, "captions": 1, "digest": "d"}
    assert call(client, "add_version", version | {"message": "one", "person": "ben"}) == (204, "")
    assert seen() == (sets, [("fresh", 0, 1), ("human", 1, 1), ("template", 0, 1)], 1)


def test_a_broken_table_is_a_bad_document() -> None:
    with pytest.raises(BadDocument, match="rows: not an Arrow stream"):
        decode_frame("rows", BytesIO(b"PAR1"))


def test_closing_waits_for_what_other_threads_have_in_hand(lab: Lab) -> None:
    stop, failed = threading.Event(), list[BaseException]()

    def reading() -> None:
        while not stop.is_set():
            try:
                lab.catalog.dataset_counts("zoo")
            except duckdb.Error as error:
                failed.append(error)
                return

    threads = [threading.Thread(target=reading) for _ in range(8)]
    for thread in threads:
        thread.start()
    lab.catalog.close()
    stop.set()
    for thread in threads:
        thread.join()
    assert all("closed" in str(error) for error in failed)
