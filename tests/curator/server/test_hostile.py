"""Requests to the catalog's RPC from hostile callers, with and without a token: refused without any change."""

from __future__ import annotations

import hashlib
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from curator.catalog import Catalog
from curator.catalog.queries import load_queries
from curator.catalog.wire import ARROW, decode_frame, encode_frame
from curator.images.locations import uploaded, uploads_folder
from curator.ingest.store import FILES, IMAGES, REJECTS
from curator.server import catalog_rpc
from schemas.errors import BadDocument
from tests.curator.lab import Lab, picture
from tests.curator.server.conftest import MakeClient
from tests.curator.server.test_access import bearer, token

CONTENT = picture(99)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FACTS = {"size_bytes": 70, "width_px": 8, "height_px": 6, "format": "png", "has_alpha": False}
IMAGE = {"sha256": SHA256, **FACTS, "exif_orientation": 1, "phash": 5}
FILE = {"position": 1, "path": "laptop:/zoo/x.png", "file_name": "x.png", "image_sha256": SHA256, "size_bytes": 70}
FILE |= {"mtime_ns": 1, "metadata": "{}", "source_url": None, "license": None, "gone": False}
REJECT = {"path": "laptop:/zoo/y.png", "reason": "corrupt", "detail": "", "size_bytes": 1, "mtime_ns": 1}
REJECT |= {"resolved": False}


@pytest.fixture
def abroad(make_client: MakeClient) -> TestClient:
    return make_client("https://lab.example", host="0.0.0.0", require_token=True)


def call(
    client: TestClient, name: str, parameters: Any, headers: dict[str, str], **frames: pl.DataFrame
) -> tuple[int, str]:
    files = {"parameters": ("parameters", json.dumps(parameters).encode(), "application/json")}
    files |= {part: (part, encode_frame(frame), ARROW) for part, frame in frames.items()}
    answer = client.post(f"/catalog/{name}", files=files, headers=headers)
    return answer.status_code, "" if answer.is_success else answer.json()["detail"]


def add_files(
    client: TestClient, headers: dict[str, str], root: str = "laptop:/zoo", file: Any = None, reject: Any = None
) -> tuple[int, str]:
    frames = {
        "new_images": pl.DataFrame([IMAGE], schema=IMAGES),
        "new_files": pl.DataFrame([FILE | (file or {})], schema=FILES),
        "new_rejects": pl.DataFrame([REJECT | (reject or {})], schema=REJECTS),
    }
    return call(client, "add_files", {"dataset": "zoo", "root": root, "ingest_id": 7}, headers, **frames)


@pytest.mark.parametrize("scope", [None, pytest.param("read", marks=pytest.mark.slow), "annotate"])
def test_no_change_without_the_scope_for_it(abroad: TestClient, lab: Lab, scope: str | None) -> None:
    headers = bearer(token(lab.catalog, scope)) if scope else {}
    count = "SELECT (SELECT count(*) FROM files) + (SELECT count(*) FROM captions) + (SELECT count(*) FROM versions)"
    before = lab.run(count)
    for query in load_queries().values():
        parameters = dict.fromkeys(query.parameters, "zoo")
        status, _ = call(abroad, query.name, parameters, headers)
        if query.scope == "write" or query.noun == "access" or scope is None:
            assert status == (403 if scope else 401), query.name
        assert status < 500, query.name
    assert lab.run(count) == before


@pytest.mark.parametrize(
    "name",
    [
        "close",
        "_write",
        "__init__",
        "path",
        "Catalog",
        "..%2Fcatalog",
        "%2e%2e",
        "images_of_dataset%00",
        "SELECT 1",
        "é",
    ],
)
def test_nothing_but_a_querys_name_is_called(abroad: TestClient, catalog: Catalog, name: str) -> None:
    assert call(abroad, name, {}, bearer(token(catalog, "write")))[0] in {404, 405}


@pytest.mark.parametrize("path", ["/etc/passwd", "zoo/x.png", "../x.png", "laptop:x.png", ""])
def test_a_row_from_elsewhere_names_no_file_of_this_machine(abroad: TestClient, lab: Lab, path: str) -> None:
    headers = bearer(token(lab.catalog, "write"))
    upload = uploaded(uploads_folder(lab.catalog.path), SHA256)
    upload.parent.mkdir(parents=True)
    upload.write_bytes(CONTENT)
    for where in ({"root": path}, {"file": {"path": path}}, {"reject": {"path": path}}):
        status, detail = add_files(abroad, headers, **where)  # type: ignore[arg-type]
        assert status == 403 and "not a path of another machine" in detail
    snapshot = {"identity": "a" * 64, "images_identity": "b" * 64, "dataset": "zoo", "folder": path, "manifest": "{}"}
    assert call(abroad, "add_snapshot", snapshot | {"size_bytes": 1, "person": "x"}, headers)[0] == 403
    finish = {"dataset": "zoo", "root": "laptop:/zoo", "ingest_id": 7, "person": "x", "options": "{}", "counts": "{}"}
    rows = pl.DataFrame([{"path": path, "size_bytes": 1, "mtime_ns": 1, "gone": False}])
    assert call(abroad, "finish_ingest", finish, headers, rows=rows)[0] == 403
    assert lab.run(f"SELECT count(*) FROM images WHERE sha256 = '{SHA256}'") == [(0,)]


def test_a_picture_is_noted_when_its_bytes_have_come(abroad: TestClient, lab: Lab) -> None:
    headers = bearer(token(lab.catalog, "write"))
    status, detail = add_files(abroad, headers)
    assert status == 409 and "1 image not uploaded" in detail
    assert add_files(abroad, headers, file={"gone": True})[0] == 204
    assert abroad.put(f"/uploads/{SHA256}", content=CONTENT, headers=headers).status_code == 204
    assert add_files(abroad, headers)[0] == 204
    assert abroad.get(f"/images/{SHA256}", headers=headers).content == CONTENT
    assert abroad.get(f"/thumbnails/{SHA256}.jpg", headers=headers).headers["content-type"] == "image/jpeg"


def test_a_row_of_another_image_under_its_name_isnt_taken_for_it(abroad: TestClient, lab: Lab) -> None:
    headers = bearer(token(lab.catalog, "write"))
    known = lab.run("SELECT image_sha256 FROM files ORDER BY file_id LIMIT 1")[0][0]
    assert abroad.put(f"/uploads/{SHA256}", content=CONTENT, headers=headers).status_code == 204
    assert add_files(abroad, headers, file={"file_name": known, "path": f"laptop:/{known}"})[0] == 204
    assert hashlib.sha256(abroad.get(f"/images/{known}", headers=headers).content).hexdigest() == known


def test_who_did_it_is_who_has_the_token(abroad: TestClient, lab: Lab) -> None:
    headers = bearer(token(lab.catalog, "write", "mallory"))
    manifest = {"identity": "a" * 64, "images_identity": "b" * 64, "dataset": "zoo", "folder": "laptop:/x"}
    asked = manifest | {"manifest": "{}", "size_bytes": 1, "person": "ana"}
    assert call(abroad, "add_snapshot", asked, headers)[0] == 204
    assert lab.run("SELECT person, folder FROM snapshots") == [("mallory", "laptop:/x")]


def test_a_token_revoked_ends_at_once(abroad: TestClient, catalog: Catalog) -> None:
    headers = bearer(token(catalog, "write"))
    assert call(abroad, "dataset_names", {}, headers)[0] == 200
    catalog.revoke_access_token(1, "ana")
    for method, path in (("GET", "/catalog"), ("GET", f"/images/{SHA256}"), ("GET", "/disk/files?dataset=zoo")):
        assert abroad.request(method, path, headers=headers).status_code == 401
    assert call(abroad, "dataset_names", {}, headers)[0] == 401
    assert abroad.put(f"/uploads/{SHA256}", content=CONTENT, headers=headers).status_code == 401


def compressed(frame: pl.DataFrame, kind: str) -> bytes:
    sink = BytesIO()
    table = frame.to_arrow()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=kind)) as writer:
        writer.write_table(table)
    return sink.getvalue()


@pytest.mark.parametrize("kind", ["zstd", "lz4"])
def test_a_table_that_would_unfold_is_refused_before_it_does(kind: str) -> None:
    bomb = compressed(pl.DataFrame({"image_sha256": ["a" * 64] * 10_000}), kind)
    assert len(bomb) < 64_000  # of what would be 640,000
    with pytest.raises(BadDocument, match="compressed table"):
        decode_frame("rows", BytesIO(bomb))
    categories = pl.DataFrame({"kind": pl.Series(["a" * 40, "b"] * 10_000, dtype=pl.Categorical)})
    with pytest.raises(BadDocument, match="compressed table"):
        decode_frame("rows", BytesIO(compressed(categories, kind)))


def test_rows_that_take_no_bytes_are_counted_before_they_are_made() -> None:
    schema = pa.schema({"image_sha256": pa.null()})
    sink = BytesIO()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch([pa.nulls(20_000_000)], schema=schema))
    with pytest.raises(BadDocument, match="more than 10,000,000 rows"):
        decode_frame("rows", BytesIO(sink.getvalue()))


def test_previews_and_files_are_asked_of_the_service_by_name_alone(
    abroad: TestClient, lab: Lab, tmp_path: Path
) -> None:
    reads, writes = (bearer(token(lab.catalog, scope, scope)) for scope in ("read", "write"))
    images = [image for (image,) in lab.run("SELECT DISTINCT image_sha256 FROM files")]
    gone = lab.run("SELECT path, image_sha256 FROM files ORDER BY file_id LIMIT 1")[0]
    (tmp_path / gone[0]).unlink()
    assert abroad.get("/disk/files?dataset=zoo", headers=reads).json() == {
        "missing": [gone[0]],
        "files": 6,
        "changed": images_changed(lab, gone[0]),
    }
    assert abroad.get("/disk/files?dataset=..%2F..%2Fetc", headers=reads).status_code == 404
    asked: dict[str, Any] = {"images": images, "make": True}
    assert abroad.post("/disk/previews", json=asked, headers=reads).status_code == 403
    made = abroad.post("/disk/previews", json=asked, headers=writes).json()
    assert made["lacking"] == [gone[1]] and len(made["failed"]) == 1
    for bad in ("../../etc/passwd", "A" * 64, "a" * 63, ""):
        assert abroad.post("/disk/previews", json={"images": [bad]}, headers=writes).status_code == 422
    address = {"addresses": [{"image": images[0], "expires": 2_000_000_000}]}
    assert abroad.post("/disk/signatures", json=address, headers=reads).status_code == 403
    [signature] = abroad.post("/disk/signatures", json=address, headers=writes).json()["signatures"]
    if images[0] != gone[1]:
        seen = abroad.get(f"/annotators/previews/{images[0]}.jpg?expires=2000000000&signature={signature}")
        assert seen.status_code == 200


def images_changed(lab: Lab, but: str) -> list[str]:
    """The lab records a size of 1 byte for every file, so all files count as changed."""
    return sorted(path for (path,) in lab.run("SELECT path FROM files") if path != but)


def test_a_question_has_a_length_and_few_parts(
    abroad: TestClient, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = bearer(token(catalog, "read"))
    rows = pl.DataFrame({"image_sha256": ["a" * 64]})
    assert call(abroad, "names_of_images", {"dataset": "zoo"}, headers, rows=rows)[0] == 200
    assert call(abroad, "dataset_names", {}, headers, **{f"t{n}": rows for n in range(20)})[0] == 400
    untold = abroad.post("/catalog/dataset_names", content=iter([b"x"]), headers=headers)
    assert untold.status_code == 413
    monkeypatch.setattr(catalog_rpc, "MAX_READ_BYTES", 100)
    assert call(abroad, "names_of_images", {"dataset": "zoo"}, headers, rows=rows)[0] == 413
