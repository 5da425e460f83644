"""Snapshot files: missing, linked, interrupted, overtaken."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from curator.catalog import Catalog
from curator.snapshot import files, snapshot
from schemas.errors import AlreadyExists, AmatlError, ChecksumMismatch
from tests.curator.lab import Lab
from tests.curator.snapshot.test_snapshot import splits_of, tree


@pytest.mark.parametrize("link", [False, True])
def test_a_second_path_stands_in_for_a_missing_first(lab: Lab, zoo: dict[str, str], tmp_path: Path, link: bool) -> None:
    shutil.copy(lab.folder / "images/5.png", tmp_path / "copy.png")
    lab.file(tmp_path / "copy.png", zoo["5"], {})
    (lab.folder / "images/5.png").unlink()
    assert snapshot(lab.write(), ["human@1"], tmp_path / "snap", link=link).left_out == {"missing-caption": 3}


def test_a_missing_image_is_named(lab: Lab, zoo: dict[str, str], tmp_path: Path) -> None:
    (lab.folder / "images/5.png").unlink()
    with pytest.raises(ChecksumMismatch, match=r"images/5\.png is gone"):
        snapshot(lab.write(), ["human@1"], tmp_path / "snap")


def test_images_the_catalog_knows_to_be_gone_are_left_out_and_counted(
    lab: Lab, zoo: dict[str, str], tmp_path: Path
) -> None:
    lab.file(lab.folder / "images/5.png", zoo["5"], {}, gone=True)
    result = snapshot(lab.write(), ["human@1"], tmp_path / "snap")
    assert result.left_out == {"file-gone": 1, "missing-caption": 3}
    assert zoo["5"] not in splits_of(tmp_path / "snap")


def test_links_share_their_file_and_copies_do_not(lab: Lab, zoo: dict[str, str], tmp_path: Path) -> None:
    linked = snapshot(lab.write(), ["human@1"], tmp_path / "linked", link=True)
    copied = snapshot(lab.write(), ["human@1"], tmp_path / "copied")
    assert linked.placed == {"linked": 7}
    assert set(copied.placed) <= {"copied", "reflinked"}
    source = lab.folder / "images/5.png"
    (name,) = {path.name for path in (tmp_path / "linked").rglob(f"{zoo['5'][:16]}.png")}
    (link,), (copy,) = (list((tmp_path / folder).rglob(name)) for folder in ("linked", "copied"))
    assert source.samefile(link)
    assert not source.samefile(copy)


def test_a_reflink_that_the_file_system_grants_is_used_and_checked(
    lab: Lab, zoo: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def grant(source: Any, copy: Any) -> bool:
        copy.write(source.read())
        copy.seek(0)
        return True

    monkeypatch.setattr("curator.snapshot.place._reflink", grant)
    assert snapshot(lab.write(), ["human@1"], tmp_path / "snap").placed == {"reflinked": 7}
    (lab.folder / "images/5.png").write_bytes(b"something else")
    with pytest.raises(ChecksumMismatch):
        snapshot(lab.write(), ["human@1"], tmp_path / "other")


@pytest.mark.parametrize("where", ["write_images", "write_samples", "publish"])
@pytest.mark.parametrize("how", [KeyboardInterrupt, OSError])
def test_an_interruption_leaves_nothing(
    lab: Lab, zoo: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, how: type[BaseException]
) -> None:
    def stop(*_: Any) -> None:
        raise how(28, "No space left on device")

    before = tree(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(f"curator.snapshot.{where}", stop)
        with pytest.raises(how):
            snapshot(lab.write(), ["human@1"], tmp_path / "snap")
    assert tree(tmp_path) == before
    snapshot(lab.write(), ["human@1"], tmp_path / "snap")


def test_what_a_killed_snapshot_left_is_removed_by_the_next_one(lab: Lab, zoo: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / ".snap.999.partial/train").mkdir(parents=True)
    (tmp_path / ".snap.999.partial/train/x.png").write_bytes(b"x")
    (tmp_path / ".snapper.999.partial").mkdir()
    snapshot(lab.write(), ["human@1"], tmp_path / "snap")
    assert not (tmp_path / ".snap.999.partial").exists()
    assert (tmp_path / ".snapper.999.partial").exists()


@pytest.mark.slow
def test_killed_on_the_way_it_leaves_nothing_that_looks_like_a_snapshot(
    lab: Lab, zoo: dict[str, str], tmp_path: Path
) -> None:
    lab.close()
    program = f"""
import os, signal
from pathlib import Path
from curator import snapshot
from curator.catalog import Catalog
snapshot.write_samples = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with Catalog({str(tmp_path / "lab.duckdb")!r}) as catalog:
    snapshot.snapshot(catalog, ["human@1"], Path({str(tmp_path / "snap")!r}))
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == -signal.SIGKILL
    (left,) = tmp_path.glob(".snap.*.partial")
    assert list(left.glob("*/*.png"))
    assert not [path for path in tree(tmp_path) if path.endswith("manifest.json") or path.startswith("snap")]
    with Catalog(tmp_path / "lab.duckdb") as catalog:
        assert catalog.stored_splits("zoo").is_empty()
        snapshot(catalog, ["human@1"], tmp_path / "snap")
    assert not left.exists()


def test_the_folder_of_a_living_snapshot_is_left_alone(lab: Lab, zoo: dict[str, str], tmp_path: Path) -> None:
    from curator.snapshot.workspace import workspace

    with workspace(tmp_path / "snap") as mine:
        theirs = mine.rename(tmp_path / ".snap.1.partial")
        snapshot(lab.write(), ["human@1"], tmp_path / "snap")
        assert theirs.exists()


def test_a_snapshot_within_a_snapshot_is_refused(lab: Lab, zoo: dict[str, str], tmp_path: Path) -> None:
    """`load_dataset` would read both as one."""
    snapshot(lab.write(), ["human@1"], tmp_path / "snap")
    before = tree(tmp_path)
    with pytest.raises(AmatlError, match="lies inside the snapshot"):
        snapshot(lab.write(), ["human@1"], tmp_path / "snap/train/more")
    assert tree(tmp_path) == before


def test_a_place_taken_meanwhile_is_not_overwritten(
    lab: Lab, zoo: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = files.write_samples

    def slow(*arguments: Any) -> None:
        write(*arguments)
        (tmp_path / "snap").mkdir()

    monkeypatch.setattr("curator.snapshot.write_samples", slow)
    with pytest.raises(AlreadyExists, match="appeared meanwhile"):
        snapshot(lab.write(), ["human@1"], tmp_path / "snap")
    assert tree(tmp_path / "snap") == []
