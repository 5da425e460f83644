"""Documents on disk: what is said when they can't be read or written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from schemas.document import write_atomically
from schemas.errors import BadDocument
from schemas.run import RunReport


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b"old")

    def full_disk(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError) as caught:
        write_atomically(path, b"new")
    assert caught.value.filename == str(path)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("run.json", b"old")]


@pytest.mark.parametrize("content", ["", '{"type": "amatl/run/v1", ', "[]"])
def test_a_broken_document_says_what_to_do(tmp_path: Path, content: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(content)
    with pytest.raises(BadDocument, match=r"run\.json: .*\. Put back a good copy of it, or make it again\.$"):
        RunReport.read(path)
