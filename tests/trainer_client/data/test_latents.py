"""The cache: keyed by everything that made an entry, made again where damaged, reused otherwise."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trainer_client.cache import default_folder
from trainer_client.cache.shards import ShardCache
from trainer_client.data.images import BadImage, pixels
from trainer_client.data.latents import BATCHES_AHEAD, cache_latents, cache_text, cores_for_readers
from trainer_client.data.snapshot import Row, Snapshot
from trainer_client.models import Family, load_family


@pytest.fixture(scope="module")
def family(base: Path) -> Family:
    return load_family(str(base))


@pytest.fixture
def rows(snapshot: Path) -> list[Row]:
    return Snapshot.open(snapshot, verify=False).rows("train")


class Counting:
    """A family that counts what it is asked to encode."""

    def __init__(self, family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images = self.captions = 0
        encode_images, encode_text = family.encode_images, family.encode_text

        def images(pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
            self.images += len(pixels_BCHW) // 2
            return encode_images(pixels_BCHW)

        def text(ids_BT: Tensor) -> Tensor:
            self.captions += len(ids_BT)
            return encode_text(ids_BT)

        monkeypatch.setitem(vars(family), "encode_images", images)
        monkeypatch.setitem(vars(family), "encode_text", text)


@pytest.fixture
def counted(family: Family, monkeypatch: pytest.MonkeyPatch) -> Counting:
    return Counting(family, monkeypatch)


def shards(cache: Path, kind: str) -> list[Path]:
    return sorted((cache / kind).rglob("*.safetensors"))


def test_latents_are_the_encoders_of_both_mirror_images(family: Family, rows: list[Row], cache: Path) -> None:
    latents = cache_latents(family, rows)
    assert latents.mean_N2CHW.shape == latents.logvar_N2CHW.shape == (12, 2, *family.latent_shape)
    for place in (0, 7):
        plain = torch.from_numpy(pixels(rows[place], family.resolution_px)).permute(2, 0, 1).float() / 127.5 - 1
        with torch.no_grad():
            mean, logvar = family.encode_images(torch.stack((plain, plain.flip(2))))
        assert torch.allclose(latents.mean_N2CHW[place], mean, atol=1e-5)
        assert torch.allclose(latents.logvar_N2CHW[place], logvar, atol=1e-5)
    assert not latents.mean_N2CHW.requires_grad


def test_gathering_some(family: Family, rows: list[Row], cache: Path) -> None:
    latents = cache_latents(family, rows)
    mean, logvar = latents.at(torch.tensor([3, 1]), torch.tensor([0, 1]), family.device)
    assert torch.equal(mean, torch.stack((latents.mean_N2CHW[3, 0], latents.mean_N2CHW[1, 1])))
    assert logvar.shape == mean.shape
    text = cache_text(family, ["a red fox", "a wolf", "a red fox"])
    assert text.captions == {"": 0, "a red fox": 1, "a wolf": 2}
    assert torch.equal(text.of(["a wolf", ""], family.device), text.text_MTD[[2, 0]])
    with pytest.raises(KeyError):
        text.indices(["a bear"])


def test_a_second_time_nothing_is_encoded(family: Family, rows: list[Row], cache: Path, counted: Counting) -> None:
    first, words = cache_latents(family, rows), cache_text(family, ["a", "b"])
    assert (counted.images, counted.captions) == (12, 3)
    second, again = cache_latents(family, rows[::-1]), cache_text(family, ["b", "a"])
    assert (counted.images, counted.captions) == (12, 3)
    assert torch.equal(first.mean_N2CHW, second.mean_N2CHW.flip(0))
    assert torch.equal(words.of(["a"], family.device), again.of(["a"], family.device))


def test_only_what_is_missing_is_encoded(family: Family, rows: list[Row], cache: Path, counted: Counting) -> None:
    cache_latents(family, rows[:5])
    assert len(cache_latents(family, rows).mean_N2CHW) == 12
    assert counted.images == 12


def test_an_edited_caption_gets_its_own_embedding(family: Family, cache: Path, counted: Counting) -> None:
    before = cache_text(family, ["a red fox"]).of(["a red fox"], family.device)
    after = cache_text(family, ["a grey fox"]).of(["a grey fox"], family.device)
    assert counted.captions == 3  # the empty one, red, grey
    assert not torch.allclose(before, after, atol=1e-3)
    assert torch.allclose(after, family.encode_text(family.tokenise(["a grey fox"])), atol=1e-6)


def test_other_settings_never_meet(
    family: Family, rows: list[Row], cache: Path, base: Path, counted: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    white = cache_latents(family, rows[:2])
    assert not torch.allclose(white.mean_N2CHW, cache_latents(family, rows[:2], background="black").mean_N2CHW)
    assert torch.equal(white.mean_N2CHW, cache_latents(family, rows[:2], background="#ffffff").mean_N2CHW)
    assert counted.images == 4
    with monkeypatch.context() as other:
        other.setitem(vars(family), "image_encoder_digest", "another autoencoder")
        other.setattr(type(family), "text_encoder_digest", "another text encoder")
        cache_latents(family, rows[:2])
        cache_text(family, ["a"])
    assert counted.images == 6
    cache_text(family, ["a"])
    assert counted.captions == 4
    larger = load_family(str(base), resolution_px=32)
    assert cache_latents(larger, rows[:1]).mean_N2CHW.shape[-2:] == (16, 16)
    half = load_family(str(base), dtype=torch.bfloat16)
    assert cache_latents(half, rows[:1]).mean_N2CHW.dtype == torch.bfloat16


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_a_damaged_shard_is_made_again(
    family: Family, rows: list[Row], cache: Path, counted: Counting, damage: str
) -> None:
    whole = cache_latents(family, rows)
    (shard,) = shards(cache, "latents")
    content = bytearray(shard.read_bytes())
    if damage == "flip":
        content[-3] ^= 1
    shard.write_bytes(content if damage == "flip" else content[:1000] if damage == "truncate" else b"")
    assert torch.equal(cache_latents(family, rows).mean_N2CHW, whole.mean_N2CHW)
    assert counted.images == 24
    assert len(shards(cache, "latents")) == 1


def test_what_was_encoded_before_an_interruption_is_kept(tmp_path: Path) -> None:
    asked: list[str] = []
    calls: list[tuple[int, int | None]] = []

    def encode(keys: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        for key in keys:
            asked.append(key)
            if asked == list("abcde"):
                raise KeyboardInterrupt
            yield key, torch.tensor([ord(key)])

    def count(stage: str, done: int, total: int | None, detail: str = "") -> None:
        calls.append((done, total))

    shards = ShardCache(tmp_path / "shards")
    with pytest.raises(KeyboardInterrupt):
        shards.complete({}, list("abcdefg"), encode, 2, "encoding")
    found = shards.complete({}, list("abcdefg"), encode, 2, "encoding", count)
    assert {key: int(value) for key, value in found.items()} == {key: ord(key) for key in "abcdefg"}
    assert asked == list("abcde" + "efg")
    assert calls == [(5, 7), (6, 7), (7, 7)]
    assert not list(tmp_path.rglob("*.tmp"))


def reading() -> list[str]:
    """The threads of pools that are alive."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_an_error_of_the_encoder_ends_its_readers(
    family: Family, rows: list[Row], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a process that has been interrupted reads all that is queued before it ends."""

    def fail(pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        raise KeyboardInterrupt

    monkeypatch.setitem(vars(family), "encode_images", fail)
    with pytest.raises(KeyboardInterrupt) as caught:
        cache_latents(family, rows, batch_size=1)
    assert caught.tb is not None, "whose frames hold what was suspended"
    assert not reading()


def test_a_full_disk_ends_the_encoding_and_names_the_file(
    family: Family, rows: list[Row], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the thread that writes, told by the one that encodes; readers end, and torch has its cores back."""
    left: list[str] = []

    @contextmanager
    def noted(_: torch.device) -> Iterator[None]:
        try:
            yield
        finally:
            left.append("the cores")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("trainer_client.data.latents.cores_for_readers", noted)
    monkeypatch.setattr("trainer_client.data.latents.SHARD_PX", 2 * family.resolution_px**2)
    monkeypatch.setattr("schemas.document.os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*\.safetensors") as caught:
        cache_latents(family, rows, batch_size=1)
    assert caught.tb is not None
    assert left == ["the cores"]
    assert not reading()
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_picture_that_fails_loses_no_finished_shard(
    family: Family, rows: list[Row], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Row] = []
    broken = [rows[7]]

    def noted(row: Row, *given: Any) -> Any:
        if row in broken:
            raise BadImage(f"{row.path}: can't be decoded")
        read.append(row)
        return pixels(row, *given)

    monkeypatch.setattr("trainer_client.data.latents.SHARD_PX", 2 * family.resolution_px**2)
    monkeypatch.setattr("trainer_client.data.latents.pixels", noted)
    with pytest.raises(BadImage, match=rf"{rows[7].path.name}: can't be decoded"):
        cache_latents(family, rows, batch_size=1, flips=False)
    kept = len(shards(cache, "latents"))
    assert kept == (7 - BATCHES_AHEAD) // 2
    broken.clear()
    read.clear()
    cache_latents(family, rows, batch_size=1, flips=False)
    assert read == rows[2 * kept :]


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_torch_has_its_threads_back_after_an_error(kind: str) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(ValueError, match="an error"), cores_for_readers(torch.device(kind)):
            assert torch.get_num_threads() == (1 if kind == "cuda" else 3)
            raise ValueError("an error")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_the_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AMATL_CACHE", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.setenv("AMATL_CACHE", "")
    assert default_folder() == Path.home() / ".cache" / "amatl"
