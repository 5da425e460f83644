"""Downloading snapshots: the very bytes, by ranges, cached for ever; nothing but a snapshot's own files."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from curator.catalog import Catalog
from curator.snapshot import Holdout, SnapshotResult, snapshot
from tests.curator.conftest import Labs
from tests.curator.lab import Lab
from tests.curator.server.conftest import small_zoo

MADE: dict[Path, SnapshotResult] = {}


def zoo_with_snapshot(lab: Lab) -> None:
    """`small_zoo`, and `human@1` and `template@1` as a snapshot with one image held out."""
    small_zoo(lab)
    versions = ["human@1", "template@1"]
    MADE[lab.folder] = snapshot(lab.write(), versions, lab.folder / "snapshot", holdout=Holdout(count=1), person="ana")


@pytest.fixture
def lab(labs: Labs) -> Iterator[Lab]:
    with labs.filled(zoo_with_snapshot) as lab:
        yield lab


@pytest.fixture
def made(lab: Lab) -> SnapshotResult:
    return MADE[lab.folder]


def test_it_is_listed_with_its_tracks_and_what_it_holds(client: TestClient, made: SnapshotResult) -> None:
    (line,) = client.get("/api/v1/snapshots").json()["snapshots"]
    assert line["identity"] == made.identity
    assert [track["version"] for track in line["tracks"]] == ["zoo/human@1", "zoo/template@1"]
    assert (line["train"], line["held_out"], line["here"], line["runs"], line["person"]) == (4, 1, True, 0, "ana")
    assert client.get(f"/api/v1/snapshots/{made.identity}").json() == line
    assert client.get("/api/v1/snapshots?dataset=farm").json() == {"snapshots": []}


def test_making_it_again_lists_it_once_and_elsewhere_still_once(
    client: TestClient, lab: Lab, made: SnapshotResult, tmp_path: Path
) -> None:
    versions = ["human@1", "template@1"]
    snapshot(lab.catalog, versions, made.folder, holdout=Holdout(count=1))
    snapshot(lab.catalog, versions, tmp_path / "copy", holdout=Holdout(count=1))
    assert lab.catalog.snapshots().height == 2
    shutil.rmtree(tmp_path / "copy")
    (line,) = client.get("/api/v1/snapshots").json()["snapshots"]
    assert (line["here"], line["folder"]) == (True, str(made.folder))


def test_every_file_comes_byte_for_byte(client: TestClient, made: SnapshotResult) -> None:
    files = [file for file in made.folder.rglob("*") if file.is_file()]
    assert len(files) == 5 + 2 + 2
    for file in files:
        path = file.relative_to(made.folder).as_posix()
        answer = client.get(f"/snapshots/{made.identity}/{path}")
        assert answer.content == file.read_bytes()
        assert "immutable" in answer.headers["cache-control"]
        again = client.get(f"/snapshots/{made.identity}/{path}", headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
        head = client.head(f"/snapshots/{made.identity}/{path}")
        assert (head.content, head.headers["content-length"]) == (b"", str(len(answer.content)))


def test_ranges(client: TestClient, made: SnapshotResult) -> None:
    address, content = f"/snapshots/{made.identity}/samples.parquet", (made.folder / "samples.parquet").read_bytes()
    part = client.get(address, headers={"Range": "bytes=100-"})
    assert (part.status_code, part.content) == (206, content[100:])
    assert part.headers["content-range"] == f"bytes 100-{len(content) - 1}/{len(content)}"
    assert client.get(address, headers={"Range": f"bytes={len(content)}-"}).status_code == 416
    tag = client.head(address).headers["etag"]
    assert client.get(address, headers={"Range": "bytes=0-9", "If-Range": tag}).content == content[:10]
    assert client.get(address, headers={"Range": "bytes=0-9", "If-Range": '"other"'}).content == content


@pytest.mark.parametrize(
    "path",
    [
        "lab.duckdb",
        "../lab.duckdb",
        "%2e%2e/lab.duckdb",
        "train/..%2f..%2flab.duckdb",
        "train/../../lab.duckdb",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "train",
        "train/notes.txt",
        "train/0000000000000000.png",
        "manifest.json%00",
    ],
)
def test_nothing_else_is_ever_read(client: TestClient, made: SnapshotResult, path: str) -> None:
    assert client.get(f"/snapshots/{made.identity}/{path}").status_code in (404, 422)  # clients resolve `..`


def test_a_link_leads_nowhere(client: TestClient, made: SnapshotResult, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (made.folder / "train" / "0123456789abcdef.png").symlink_to(secret)
    assert client.get(f"/snapshots/{made.identity}/train/0123456789abcdef.png").status_code == 404


def test_one_that_is_unknown_or_gone(client: TestClient, made: SnapshotResult) -> None:
    unknown = client.get(f"/snapshots/{'0' * 64}/manifest.json")
    assert (unknown.status_code, unknown.json()["detail"][:42]) == (404, "There is no snapshot 000000000000. Export ")
    shutil.rmtree(made.folder)
    gone = client.get(f"/snapshots/{made.identity}/manifest.json")
    assert gone.status_code == 404
    assert "Export it again: curator snapshot zoo/human@1 zoo/template@1 --out" in gone.json()["detail"]
    assert not client.get(f"/api/v1/snapshots/{made.identity}").json()["here"]


def test_another_snapshot_in_its_folder_is_not_it(lab: Lab, client: TestClient, made: SnapshotResult) -> None:
    shutil.rmtree(made.folder)
    snapshot(lab.catalog, ["template@1"], made.folder)
    assert client.get(f"/snapshots/{made.identity}/manifest.json").status_code == 404


def test_the_manifest_it_gives_is_sealed(catalog: Catalog, made: SnapshotResult) -> None:
    (row,) = catalog.snapshots().to_dicts()
    assert json.loads(row["manifest"]) == json.loads((made.folder / "manifest.json").read_bytes())
    assert len(hashlib.sha256(row["manifest"].encode()).hexdigest()) == 64
