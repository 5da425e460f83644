"""Snapshots by address: whole or not at all, gone on with after breaks, every byte checked, the token never told."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.edge.address import address_of
from schemas.errors import AmatlError, BadDocument, ChecksumMismatch, NotEnoughSpace, NotFound, ServiceFailed
from schemas.snapshot import SnapshotManifest
from tests.trainer_client.data.breaking_server import Breaking, serving
from trainer_client.config import TrainConfig
from trainer_client.data import fetch
from trainer_client.data.fetch import fetch_snapshot
from trainer_client.data.snapshot import Snapshot


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fetch, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setenv("AMATL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("AMATL_TOKEN", raising=False)


@pytest.fixture
def copy(snapshot: Path, tmp_path: Path) -> Path:
    """A served snapshot, at `/snapshots/<identity>`."""
    identity = SnapshotManifest.read(snapshot / "manifest.json").identity
    return Path(shutil.copytree(snapshot, tmp_path / "served" / "snapshots" / identity))


@pytest.fixture
def server(copy: Path) -> Iterator[tuple[str, Breaking]]:
    with serving(copy.parent.parent) as (host, breaking):
        yield f"{host}/snapshots/{copy.name}", breaking


def same(first: Path, second: Path) -> bool:
    names = [sorted(file.relative_to(one) for file in one.rglob("*") if file.is_file()) for one in (first, second)]
    return names[0] == names[1] and all(
        (first / name).read_bytes() == (second / name).read_bytes() for name in names[0]
    )


def test_an_address_opens_like_a_folder(server: tuple[str, Breaking], copy: Path, tmp_path: Path) -> None:
    address, breaking = server
    opened = Snapshot.open(address)
    assert opened.folder == tmp_path / "cache" / "snapshots" / copy.name
    assert same(copy, opened.folder)
    files = sum(breaking.asked.values())
    assert files == len(breaking.asked) == 16 + 2 + 2
    assert Snapshot.open(Path(address)).rows("train") == opened.rows("train")  # as the command line has it
    assert sum(breaking.asked.values()) == files  # nobody was asked again


def test_a_broken_connection_goes_on_where_it_broke(server: tuple[str, Breaking], copy: Path, tmp_path: Path) -> None:
    address, breaking = server
    breaking.cut = lambda path, asked: 100 if asked < 4 else None
    assert same(copy, fetch_snapshot(address, tmp_path))
    sizes = sum(file.stat().st_size for file in copy.rglob("*") if file.is_file())
    manifest = (copy / "manifest.json").stat().st_size
    assert breaking.sent_bytes - sizes <= 3 * min(100, manifest)  # of the manifest alone bytes came twice
    assert any(start for _, start in breaking.starts)


def test_an_interrupted_fetch_keeps_what_came(server: tuple[str, Breaking], copy: Path, tmp_path: Path) -> None:
    address, breaking = server
    breaking.cut = lambda path, asked: 0 if path.startswith(f"snapshots/{copy.name}/validation/0") else None
    broken = sorted(copy.glob("validation/*.png"))[0].name
    breaking.cut = lambda path, asked: (
        50 if path.endswith(broken) and asked == 1 else 0 if path.endswith(broken) else None
    )
    with pytest.raises(ServiceFailed, match=f"{broken}: can't be reached"):
        fetch_snapshot(address, tmp_path)
    assert not (tmp_path / copy.name).exists()
    came = set(breaking.asked)
    breaking.cut = lambda path, asked: None
    breaking.asked.clear()
    breaking.starts.clear()
    assert same(copy, fetch_snapshot(address, tmp_path))
    assert (f"snapshots/{copy.name}/validation/{broken}", 50) in breaking.starts
    again = {path for path in breaking.asked if path in came}
    assert len(again) < len(came)


def test_a_server_without_ranges_begins_anew(server: tuple[str, Breaking], copy: Path, tmp_path: Path) -> None:
    address, breaking = server
    breaking.ranges = False
    breaking.cut = lambda path, asked: 60 if asked == 1 and path.endswith(".png") else None
    assert same(copy, fetch_snapshot(address, tmp_path))


def test_a_busy_server_is_waited_for(server: tuple[str, Breaking], copy: Path, tmp_path: Path) -> None:
    address, breaking = server
    breaking.status = lambda path, asked: 503 if asked == 1 else 200
    assert same(copy, fetch_snapshot(address, tmp_path))


def test_a_flipped_byte_on_the_way_is_fetched_again(server: tuple[str, Breaking], copy: Path, tmp_path: Path) -> None:
    address, breaking = server

    def flipped(path: str, content: bytes) -> bytes:
        bad = path.endswith(".png") and breaking.asked[path] == 1
        return content[:-1] + bytes([content[-1] ^ 1]) if bad else content

    breaking.change = flipped
    assert same(copy, fetch_snapshot(address, tmp_path))


@pytest.mark.parametrize("name", [".png", "samples.parquet", "train/metadata.jsonl"])
def test_what_stays_wrong_is_named(server: tuple[str, Breaking], copy: Path, tmp_path: Path, name: str) -> None:
    address, breaking = server
    breaking.change = lambda path, content: content[:-1] + b"x" if path.endswith(name) else content
    with pytest.raises(ChecksumMismatch, match=r"http://127.0.0.1.*its SHA-256 is .* twice"):
        fetch_snapshot(address, tmp_path)
    assert not (tmp_path / copy.name).exists()


def test_a_manifest_that_is_another_one(server: tuple[str, Breaking], copy: Path, tmp_path: Path) -> None:
    address, breaking = server
    manifest = json.loads((copy / "manifest.json").read_bytes())

    def served(**changes: object) -> None:
        content = json.dumps(manifest | changes).encode()
        breaking.change = lambda path, _: content

    served(identity="0" * 64, manifest_digest=None)
    with pytest.raises(ChecksumMismatch, match="is of snapshot 000000000000, not"):
        fetch_snapshot(address, tmp_path)
    served(dataset="other", manifest_digest="0" * 64)
    with pytest.raises(ChecksumMismatch, match="doesn't match its own digest"):
        fetch_snapshot(address, tmp_path)
    served(type="amatl/run/v1")
    with pytest.raises(BadDocument, match=r"not a snapshot's manifest \(type:"):
        fetch_snapshot(address, tmp_path)


def test_a_manifest_that_points_outside_is_refused(server: tuple[str, Breaking], copy: Path, tmp_path: Path) -> None:
    address, breaking = server
    text = (copy / "manifest.json").read_text().replace('"samples.parquet"', '"../../samples.parquet"')
    breaking.change = lambda path, content: text.encode() if path.endswith("manifest.json") else content
    with pytest.raises(BadDocument, match=r"samples.path"):
        fetch_snapshot(address, tmp_path)


def test_the_token_comes_from_the_environment_and_is_never_told(
    server: tuple[str, Breaking], copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, breaking = server
    breaking.token = "s3cr3t"
    with pytest.raises(ServiceFailed, match=r"wants a token\. Set AMATL_TOKEN"):
        fetch_snapshot(address, tmp_path)
    monkeypatch.setenv("AMATL_TOKEN", "wr0ng")
    with pytest.raises(ServiceFailed, match="refuses the token") as refused:
        fetch_snapshot(address, tmp_path)
    assert "wr0ng" not in str(refused.value)
    monkeypatch.setenv("AMATL_TOKEN", "no\ttoken")
    with pytest.raises(ServiceFailed, match="AMATL_TOKEN: has characters"):
        fetch_snapshot(address, tmp_path)
    monkeypatch.setenv("AMATL_TOKEN", " s3cr3t\n")
    assert same(copy, fetch_snapshot(address, tmp_path))


def test_an_address_with_nothing_there(server: tuple[str, Breaking], tmp_path: Path) -> None:
    address, breaking = server
    with pytest.raises(NotFound, match=r"manifest\.json: There is no such thing here"):
        fetch_snapshot(address.replace("snapshots", "other"), tmp_path)
    breaking.status = lambda path, asked: 302
    with pytest.raises(ServiceFailed, match="has moved to elsewhere"):
        fetch_snapshot(address, tmp_path)
    with pytest.raises(ServiceFailed, match=r"can't be reached .*Is the service running"):
        fetch_snapshot("http://127.0.0.1:9/snapshots/x", tmp_path)


def test_an_address_without_the_identity(server: tuple[str, Breaking], copy: Path, tmp_path: Path) -> None:
    address, _ = server
    copy.rename(copy.with_name("best"))
    folder = fetch_snapshot(address.replace(copy.name, "best"), tmp_path)
    assert folder.name == copy.name and same(copy.with_name("best"), folder)


def test_no_room(server: tuple[str, Breaking], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil._ntuple_diskusage(100, 99, 1)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(NotEnoughSpace, match="AMATL_CACHE"):
        fetch_snapshot(server[0], tmp_path)


def test_of_two_at_once_one_fetches(server: tuple[str, Breaking], copy: Path, tmp_path: Path) -> None:
    address, breaking = server
    stages: list[str] = []
    folders: list[Path] = []

    def go() -> None:
        folders.append(fetch_snapshot(address, tmp_path, lambda stage, done, total, detail="": stages.append(stage)))

    threads = [threading.Thread(target=go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folders == [tmp_path / copy.name] * 3 and same(copy, folders[0])
    assert all(times == 1 for path, times in breaking.asked.items() if path.endswith(".png"))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://host:8400/snapshots/x/", "http://host:8400/snapshots/x"),
        (Path("http://host/x"), "http://host/x"),
        ("https://host/x", "https://host/x"),
        ("snapshots/all", None),
        ("http:", None),
        ("ftp://host/x", None),
        ("http://host/a b", None),
    ],
)
def test_what_an_address_is(text: str | Path, address: str | None) -> None:
    assert address_of(text) == address


def test_the_configuration_keeps_the_address_as_given() -> None:
    config = TrainConfig.of(snapshot=Path("http://host/snapshots/x"), base="b", out=Path("o"))
    assert config.flat()["snapshot"] == "http://host/snapshots/x"
    assert TrainConfig.of(**config.flat()) == config
    with pytest.raises(AmatlError):
        Snapshot.open(config.data.snapshot)
