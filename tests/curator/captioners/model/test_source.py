"""Which weights, down to the revision, without loading them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from curator.captioners.model.source import find_source
from schemas.errors import BadOption, NotFound

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "seer"
    (made / "sub").mkdir(parents=True)
    (made / "config.json").write_text("{}")
    (made / "sub" / "model.safetensors").write_bytes(b"weights")
    return made


def test_a_folder_is_known_by_its_files_wherever_it_lies(folder: Path, tmp_path: Path) -> None:
    source = find_source(str(folder))
    assert (source.name, source.commit, len(source.revision)) == ("seer", None, len("sha256:") + 64)
    copy = shutil.copytree(folder, tmp_path / "elsewhere" / "seer")
    (copy / ".cache").mkdir()
    (copy / ".cache" / "x").write_text("not the model's")
    assert find_source(str(copy)).revision == source.revision
    (copy / "sub" / "model.safetensors").write_bytes(b"Weights")
    assert find_source(str(copy)).revision != source.revision
    (folder / "sub" / "model.safetensors").rename(folder / "sub" / "renamed.safetensors")
    assert find_source(str(folder)).revision != source.revision


def test_a_file_rewritten_within_a_tick_of_the_clock_is_read_again(folder: Path) -> None:
    file, just_now = folder / "sub" / "model.safetensors", time.time_ns() + 10**12
    revisions = set()
    for content in (b"weights", b"Weights"):
        file.write_bytes(content)
        os.utime(file, ns=(just_now, just_now))
        revisions.add(find_source(str(folder)).revision)
    assert len(revisions) == 2


def test_what_is_no_model_is_said_in_a_line(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(BadOption, match="is a folder"):
        find_source(str(folder), "main")
    with pytest.raises(NotFound, match=r"no config\.json"):
        find_source(str(tmp_path))
    with pytest.raises(NotFound, match="can't be the name of a model"):
        find_source("./no/such/folder")
    with pytest.raises(NotFound, match=r"There is no folder acme/none.*hub can't be reached.*isn't in the cache"):
        find_source("acme/none")


def test_without_a_network_the_cached_commit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    place = tmp_path / "models--acme--cached-seer"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    (place / "snapshots" / COMMIT).mkdir(parents=True)
    (place / "snapshots" / COMMIT / "config.json").write_text("{}")
    source = find_source("acme/cached-seer")
    assert (source.location, source.revision, source.commit) == ("acme/cached-seer", COMMIT, COMMIT)


def test_torch_is_not_loaded_for_it(folder: Path) -> None:
    code = (
        "import sys; from curator.captioners import vision; vision.model(vision.Options(model=sys.argv[1]));"
        "print([name for name in ('torch', 'transformers', 'numpy', 'polars') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(folder)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"
