"""What kills leave in the cache goes a day later; what may be in use, or isn't ours, stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.trainer_client.methods.runs import run
from trainer_client.cache.leftovers import UNUSED_SECONDS, remove_leftovers

OLD = [
    "latents/aa/.00.safetensors.17.tmp",
    "opacity/aa/.00.safetensors.17.tmp",
    "text/aa/.00.safetensors.17.tmp",
    "class/aa/.00001.png.tmp",
    "base/.00.json.17.tmp",
    "models/.aa.tmp/unet/config.json",
    "snapshots/aa/.manifest.json.17.tmp",
]
NOT_OURS = ["compiled/aa/.x.tmp", ".x.tmp", "notes/.x.tmp", "latents/aa/00.safetensors", "snapshots/aa/train/.x.tmp"]


def put(cache: Path, name: str, age_seconds: float) -> Path:
    path = cache / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half a file")
    for aged in (path, path.parent):
        os.utime(aged, times=(time.time() - age_seconds,) * 2)
    return path


def age_folders(folder: Path, age_seconds: float) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            os.utime(path, times=(time.time() - age_seconds,) * 2)


def test_old_ones_go_and_young_and_foreign_ones_stay(tmp_path: Path) -> None:
    old = [put(tmp_path, name, UNUSED_SECONDS + 60) for name in OLD]
    foreign = [put(tmp_path, name, UNUSED_SECONDS + 60) for name in NOT_OURS]
    young = [put(tmp_path, f"{name}.tmp", UNUSED_SECONDS - 60) for name in OLD if not name.startswith("models")]
    age_folders(tmp_path, UNUSED_SECONDS + 60)
    busy = put(tmp_path, "models/.bb.tmp/unet/config.json", 0)  # a folder counts as its newest file does
    remove_leftovers(tmp_path)
    assert not [path for path in old if path.exists()] and not (tmp_path / "models/.aa.tmp").exists()
    assert all(path.exists() for path in [*foreign, *young, busy])
    remove_leftovers(tmp_path / "there is none yet")


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    elsewhere = put(tmp_path, "elsewhere/picture.png", 2 * UNUSED_SECONDS)
    link = tmp_path / "cache/base/.link.tmp"
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere.parent)
    os.utime(link, times=(0, 0), follow_symlinks=False)
    remove_leftovers(tmp_path / "cache")
    assert elsewhere.exists() and not link.is_symlink()


def test_what_can_not_be_removed_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("not yours")

    put(tmp_path, OLD[0], 2 * UNUSED_SECONDS)
    monkeypatch.setattr(Path, "unlink", refuse)
    remove_leftovers(tmp_path)


KILLED = """
import os, signal, sys
from pathlib import Path
import schemas.document
from trainer_client.cache.shards import ShardCache
import torch
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
ShardCache(Path(sys.argv[1]) / "latents" / "aa").write({"key": torch.zeros(4)})
"""


@pytest.mark.slow
def test_a_run_removes_what_a_killed_one_left(base: Path, snapshot: Path, cache: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(cache)], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    (left,) = (cache / "latents/aa").iterdir()
    run(snapshot, base, tmp_path / "first", epochs=1)
    assert left.exists(), "it may still be written"
    os.utime(left, times=(time.time() - UNUSED_SECONDS - 60,) * 2)
    run(snapshot, base, tmp_path / "second", epochs=1)
    assert not left.exists()
