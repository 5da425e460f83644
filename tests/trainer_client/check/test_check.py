"""Checking before training: damage, lost words, time, cost and space, and that checking changes nothing."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from schemas.errors import BadOption, ChecksumMismatch, NotEnoughSpace
from tests.trainer_client.conftest import write_snapshot
from trainer_client.check import (
    check,
    check_track,
    estimate,
    examine,
    needed_space,
    text_of_check,
    truncation,
)
from trainer_client.check.benchmark import Benchmark, NotEnoughMemory, run_benchmark
from trainer_client.cli import main
from trainer_client.config import TrainConfig
from trainer_client.data.images import BadImage
from trainer_client.data.snapshot import Snapshot
from trainer_client.methods import begin
from trainer_client.models import Family, load_family

LONG = "fox " * 75


@pytest.fixture(scope="module")
def family(base: Path) -> Family:
    return load_family(str(base))


@pytest.fixture(autouse=True)
def hardly_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One timed call of each thing instead of two seconds of them."""
    monkeypatch.setattr("trainer_client.check.benchmark.BUDGET_SECONDS", 0.0)


def config_for(snapshot: Path, base: Path, **settings: object) -> TrainConfig:
    return TrainConfig.of(**{"snapshot": snapshot, "base": str(base), "out": Path("run"), **settings})


def test_a_good_snapshot(snapshot: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMATL_CACHE", str(tmp_path / "cache"))
    calls: dict[str, tuple[int, int | None]] = {}

    def progress(stage: str, done: int, total: int | None, detail: str = "") -> None:
        calls[stage] = (done, total)

    result = check(config_for(snapshot, base, epochs=10, save_epochs=(1, 5)), progress)
    assert (result.train_images, result.held_out_images, result.resolution_px) == (12, 4, 16)
    assert result.checkpoint_epochs == [0, 1, 5, 10]
    assert [(track.name, track.missing, track.truncation.truncated) for track in result.tracks] == [
        ("template", 0, 0),
        ("human", 0, 0),
    ]
    assert result.estimate.images_per_second > 0 and result.estimate.cost is None
    assert calls["verifying checksums"] == calls["decoding images"] == (16, 16)
    assert not list(tmp_path.iterdir()), "a check writes nothing"
    assert "EXIF" not in text_of_check(result) and "\n10 epochs at " in text_of_check(result)
    assert "\n1 epoch at " in text_of_check(result.model_copy(update={"epochs": 1}))
    damaged = result.model_copy(update={"unread_orientation": ["cut.jpg"]})
    assert (
        "1 image has EXIF that can't be read, so which way up is unknown; taken as stored: cut.jpg."
        in text_of_check(damaged)
    )


def test_one_track(snapshot: Path, base: Path) -> None:
    assert [track.name for track in check(config_for(snapshot, base, captions="human")).tracks] == ["human"]
    with pytest.raises(BadOption, match="template, human"):
        check(config_for(snapshot, base, captions="blip"))


def test_damage_is_found_before_the_model_is_loaded(snapshot: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(snapshot, tmp_path / "snapshot"))
    picture = sorted(copy.glob("train/*.png"))[3]
    content = bytearray(picture.read_bytes())
    content[40] ^= 4
    picture.write_bytes(content)
    with pytest.raises(ChecksumMismatch, match=picture.name):
        check(config_for(copy, Path("no such base")))


def test_a_picture_that_was_never_whole(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its checksum is right; it can't be decoded all the same."""
    whole = Image.Image.save

    def save(image: Image.Image, path: Path) -> None:
        whole(image, path)
        path.write_bytes(path.read_bytes()[:-30])

    with monkeypatch.context() as broken:
        broken.setattr(Image.Image, "save", save)
        write_snapshot(tmp_path / "snapshot", train=3, validation=1)
    with pytest.raises(BadImage, match=r"can't be decoded .* And 3 more"):
        check(config_for(tmp_path / "snapshot", base))


def test_lost_words_are_counted_and_shown(family: Family) -> None:
    found = truncation(family, ["a fox", LONG, LONG + "in the Snow", LONG + "in", LONG + "in", ""])
    assert (found.token_limit, found.captions, found.truncated) == (77, 6, 3)
    kept = "... " + "fox " * 12
    assert found.examples == [f"{kept}[3 words lost:] in the Snow", f"{kept}[1 word lost:] in"]


def test_a_tracks_gaps_are_counted(family: Family, tmp_path: Path) -> None:
    def caption(split: str, number: int) -> dict[str, str | None]:
        return {"some": None if number == 1 else "" if number == 2 else LONG + "river"}

    folder = write_snapshot(tmp_path / "snapshot", train=4, validation=1, caption=caption, tracks=("some",))
    snapshot = Snapshot.open(folder)
    found = check_track(family, snapshot, "some", snapshot.rows("train"))
    assert (found.missing, found.empty, found.truncation.captions, found.truncation.truncated) == (1, 1, 3, 2)


def test_the_estimate_adds_up(snapshot: Path, base: Path) -> None:
    config = config_for(
        snapshot,
        base,
        captions="human",
        epochs=10,
        save_epochs=(5,),
        sample_steps=20,
        eval_timesteps=4,
        price_per_hour=2,
    )
    pace = Benchmark(step=2.0, forward=0.1, decoding=0.5, encoding=0.25)
    found = estimate(config, Snapshot.open(snapshot), pace, batch_size=8, pictures=6)
    assert (found.images_per_second, found.epoch_seconds, found.training_seconds) == (4.0, 3.0, 30.0)
    assert found.sampling_seconds == pytest.approx(3 * 6 * (20 * 2 * 0.1 + 0.5))
    assert found.preparing_seconds == (12 + 4) * 0.25
    # 4 held-out images under 2 tracks, true and shuffled; 4 training images under their own.
    assert found.evaluating_seconds == pytest.approx(3 * (4 * 4 + 4) * 4 * 0.1)
    assert found.cost == pytest.approx(found.total_seconds / 3600 * 2)
    plain = config.updated(guidance_scale=1.0)
    assert estimate(plain, Snapshot.open(snapshot), pace, 8, 6).sampling_seconds == pytest.approx(
        3 * 6 * (20 * 0.1 + 0.5)
    )


def test_space_is_what_checkpoints_and_state_take(snapshot: Path, base: Path, family: Family, tmp_path: Path) -> None:
    config = config_for(snapshot, base, epochs=3, save_epochs=(1, 2), out=tmp_path / "not" / "yet")
    method = begin(family, config)
    found = needed_space(config, method)
    family.save(tmp_path / "0", torch.float16)
    family.save(tmp_path / "1", torch.float16, unchanged_from=tmp_path / "0")
    whole = sum(path.stat().st_size for path in (tmp_path / "0").rglob("*.safetensors"))
    later = (tmp_path / "1" / "unet" / "diffusion_pytorch_model.safetensors").stat().st_size
    state = 2 * 12 * sum(weight.numel() for weight in family.denoiser.parameters())
    assert found.checkpoints == 4
    assert found.needed_bytes == pytest.approx(1.05 * (whole + 3 * later + state), rel=0.25)
    assert needed_space(config.updated(save_dtype="fp32"), method).needed_bytes > found.needed_bytes


def test_a_full_disk_is_refused(snapshot: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(100, 99, 1))
    with pytest.raises(NotEnoughSpace, match=r"run: .* 1 byte is free. Use fewer --save-epochs"):
        check(config_for(snapshot, base))


@pytest.mark.parametrize("trains_text_encoder", [False, True])
def test_timing_changes_no_weight(family: Family, snapshot: Path, base: Path, trains_text_encoder: bool) -> None:
    method = begin(family, config_for(snapshot, base, train_text_encoder=trains_text_encoder))
    modules = (family.denoiser, family.text_encoders["text_encoder"])
    before = [{name: tensor.clone() for name, tensor in module.state_dict().items()} for module in modules]
    flags = [weight.requires_grad for module in modules for weight in module.parameters()]
    pace = run_benchmark(method, Snapshot.open(snapshot).rows("train"), 3)
    assert min(pace.step, pace.forward, pace.decoding, pace.encoding) > 0
    for module, state in zip(modules, before, strict=True):
        assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
        assert all(weight.grad is None for weight in module.parameters())
    assert flags == [weight.requires_grad for module in modules for weight in module.parameters()]


def test_a_batch_too_large_for_the_device(
    family: Family, snapshot: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def predict(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(type(family), "predict", predict)
    with pytest.raises(NotEnoughMemory, match=r"A batch of 3 at 16 px .* --batch-size"):
        run_benchmark(begin(family, config_for(snapshot, base)), Snapshot.open(snapshot).rows("train"), 3)


def test_auto_batch_finds_one_that_fits(
    family: Family, snapshot: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, predict = [], type(family).predict

    def small_memory(
        own: Family, denoiser: torch.nn.Module, noisy_BCHW: torch.Tensor, *others: torch.Tensor
    ) -> torch.Tensor:
        sizes.append(len(noisy_BCHW))
        if len(noisy_BCHW) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return predict(own, denoiser, noisy_BCHW, *others)

    monkeypatch.setattr(type(family), "predict", small_memory)
    method = begin(family, config_for(snapshot, base))
    opened = Snapshot.open(snapshot)
    with pytest.raises(NotEnoughMemory, match="--auto-batch"):
        examine(config_for(snapshot, base, batch_size=8), opened, method, 1, budget_seconds=0.0)
    found = examine(config_for(snapshot, base, batch_size=8, auto_batch=True), opened, method, 1, budget_seconds=0.0)
    assert found.estimate.images_per_second > 0
    assert {8, 4, 2} <= set(sizes)


def test_the_command(snapshot: Path, base: Path, tmp_path: Path) -> None:
    arguments = ["check", str(snapshot), "--base", str(base), "--device", "cpu", "--price-per-hour", "0.5"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "12 training and 4 held-out images" in result.stdout and "at 0.5 an hour" in result.stdout
    assert "drawn/human@1" in result.stdout
    document = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert document["estimate"]["cost"] > 0 and document["space"]["free_bytes"] > 0
    missing = CliRunner().invoke(main, ["check", str(tmp_path / "nowhere"), "--base", str(base)])
    assert missing.exit_code == 1 and missing.stderr.startswith("Error: ") and missing.stderr.count("\n") == 1
    track = CliRunner().invoke(main, [*arguments, "--captions", "blip", "--json"])
    assert track.exit_code == 2 and json.loads(track.stderr)["error"]["type"] == "BadOption"
    assert CliRunner().invoke(main, ["check", str(snapshot)]).exit_code == 2
