"""Rows by key, in memory or in a mapped file."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import pytest
import torch

from trainer_client.cache import tensor_table
from trainer_client.data.latents import cache_latents, cache_text
from trainer_client.data.snapshot import Snapshot
from trainer_client.models import load_family


@pytest.mark.parametrize("share", [1.0, 0.0])
def test_rows_lie_in_the_keys_order_and_no_file_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setattr(tensor_table, "MOST_OF_FREE_MEMORY", share)
    rows = tensor_table.TensorTable(["a", "b", "a"], tmp_path / "new")
    for key, value in (("b", 2.0), ("a", 1.0)):
        assert key not in rows
        rows[key] = torch.full((2, 3), value)
    assert rows.rows_N is not None and rows.rows_N[:, 0, 0].tolist() == [1, 2, 1]
    assert len(rows) == 2 and not list(tmp_path.rglob("*.*"))


def test_a_disk_without_room_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with holes would do until they are filled, and then end the process by a signal."""
    monkeypatch.setattr(tensor_table, "MOST_OF_FREE_MEMORY", 0.0)
    most_bytes, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(OSError, match=re.escape(str(tmp_path))):
            tensor_table.allocate((1 << 20,), torch.float32, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    assert not list(tmp_path.iterdir())


def test_what_is_too_much_for_memory_is_read_from_a_file(
    base: Path, snapshot: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = load_family(str(base))
    rows = Snapshot.open(snapshot).rows("train")
    expected, words = cache_latents(family, rows), cache_text(family, ["a frog", "a wolf"])
    monkeypatch.setattr(tensor_table, "MOST_OF_FREE_MEMORY", 0.0)
    found, others = cache_latents(family, rows), cache_text(family, ["a frog", "a wolf"])
    indices, flips = torch.tensor([3, 1, 3]), torch.tensor([0, 1, 1])
    for one, other in zip(
        expected.at(indices, flips, family.device), found.at(indices, flips, family.device), strict=True
    ):
        assert torch.equal(one, other)
    assert torch.equal(words.of(["a wolf"], family.device), others.of(["a wolf"], family.device))


def test_mirror_images_are_encoded_where_they_are_asked_for(base: Path, snapshot: Path, cache: Path) -> None:
    family = load_family(str(base))
    rows = Snapshot.open(snapshot).rows("train")
    told: list[tuple[int, int | None]] = []
    plain = cache_latents(family, rows, flips=False)
    both = cache_latents(family, rows, progress=lambda stage, done, total, detail="": told.append((done, total)))
    assert plain.mean_N2CHW.shape[:2] == (12, 1) and both.mean_N2CHW.shape[:2] == (12, 2)
    assert torch.equal(plain.mean_N2CHW[:, 0], both.mean_N2CHW[:, 0])
    assert told[0] == (13, 24)  # The plain ones were there.
