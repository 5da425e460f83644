"""Folders that nothing could be written to are refused before any work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trainer_client.train.writable import NotWritable, refuse_unwritable


def test_what_can_be_made_is_not_made(tmp_path: Path) -> None:
    refuse_unwritable("--out", tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_is_said_with_its_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotWritable, match=r"--cache .*run: .*file is a file. Choose another --cache"):
        refuse_unwritable("--cache", tmp_path / "file" / "run")
    with pytest.raises(NotWritable, match=r"--out .*…: File name too long. Choose another --out"):
        refuse_unwritable("--out", tmp_path / ("a" * 300))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # A superuser is stopped by no permissions.
    with pytest.raises(NotWritable, match=r"can't be written to. Choose another --out"):
        refuse_unwritable("--out", tmp_path / "run")
