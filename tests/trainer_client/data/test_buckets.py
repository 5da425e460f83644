"""Aspect-ratio buckets: where every image goes, and that a step, a loss and a resume are what they are without."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from schemas.digest import sha256_file
from schemas.errors import BadOption
from schemas.run import RunReport
from tests.trainer_client.train.conftest import Stop, assert_same_run, stop_when
from tests.trainer_client.train.conftest import config as run_config
from tests.trainer_client.train.test_learning import learn, prepared
from trainer_client.cli import main
from trainer_client.config import TrainConfig
from trainer_client.config.parts import DataOptions
from trainer_client.data import buckets
from trainer_client.data.batches import Batch, MixedBatch, epoch_steps, make_batch
from trainer_client.data.images import crop_sizes, opacity, pixels
from trainer_client.data.latents import BucketLatents
from trainer_client.data.snapshot import Row, Snapshot
from trainer_client.distributed.processes import Processes
from trainer_client.train import train
from trainer_client.train.train_step import Learner


def row(width: int, height: int, path: Path = Path()) -> Row:
    return Row(path, f"{width}x{height}", {}, width, height)


def sizes(resolution_px: int, step_px: int, **values: Any) -> list[tuple[int, int]]:
    family: Any = SimpleNamespace(resolution_px=resolution_px, size_step_px=step_px, base="a base")
    return buckets.sizes(family, DataOptions(snapshot=Path(), buckets=True, **values))


# Where images go


def test_buckets_have_the_area_and_the_sides_asked_for() -> None:
    found = sizes(512, 64)
    assert {(512, 512), (448, 576), (576, 448), (384, 640), (256, 1024), (1024, 256)} <= set(found)
    assert all(width % 64 == height % 64 == 0 and min(width, height) >= 256 for width, height in found)
    assert all(max(size) <= 1024 and size[0] * size[1] <= 512 * 512 for size in found)
    assert {(height, width) for width, height in found} == set(found)
    assert sizes(512, 64, min_side=384, max_side=640) == [(384, 640), (448, 576), (512, 512), (576, 448), (640, 384)]
    assert sizes(512, 64, min_side=512, max_side=512) == [(512, 512)]


def test_sides_that_cannot_be_are_refused() -> None:
    with pytest.raises(BadOption, match="--min-side 100: a base needs a multiple of 64 pixels"):
        sizes(512, 64, min_side=100)
    with pytest.raises(BadOption, match="the resolution, 512 px, isn't between them"):
        sizes(512, 64, max_side=448)
    with pytest.raises(ValueError, match="--max-side needs --buckets"):
        TrainConfig.of(snapshot=Path("s"), base="b", out=Path("o"), max_side=64)


def test_an_image_goes_where_least_is_cut_off() -> None:
    among = sizes(512, 64)
    for width, height in [(100, 100), (1000, 100), (100, 1000), (333, 217), (640, 480), (1, 4000)]:
        image = row(width, height)
        own = buckets.bucket_of(image, among)
        assert buckets.cropped(image, own) == min(buckets.cropped(image, size) for size in among)
    assert buckets.bucket_of(row(77, 77), among) == (512, 512)
    assert buckets.cropped(row(200, 100), (100, 100)) == 0.5
    assert buckets.cropped(row(300, 200), (384, 256)) == 0


def test_pixels_are_the_middle_in_the_buckets_shape(tmp_path: Path) -> None:
    picture = np.zeros((20, 60, 4), np.uint8)
    picture[:, 10:50] = (200, 0, 0, 255)  # Transparent at the sides.
    Image.fromarray(picture).save(tmp_path / "wide.png")
    wide = replace(row(60, 20, tmp_path / "wide.png"), sha256=sha256_file(tmp_path / "wide.png"))
    cut = pixels(wide, (16, 8), "black")
    assert cut.shape == (8, 16, 3)
    assert cut[:, :, 0].min() > 190  # 40 of 60 columns are left: the red ones.
    mask = opacity(wide, 12, 4)
    assert mask is not None
    assert mask.shape == (4, 12)
    assert mask[:, :2].max() == 0 and mask[:, 2:10].min() == 255
    assert crop_sizes(wide, (16, 8)) == (20, 60, 0, 4, 8, 16)


def test_check_tells_where_every_image_goes(shaped: Path, base: Path, cache: Path, tmp_path: Path) -> None:
    arguments = ["check", str(shaped), "--base", str(base), "--out", str(tmp_path / "o"), "--buckets"]
    result = CliRunner().invoke(main, [*arguments, "--json"])
    found = json.loads(result.stdout)["buckets"]
    assert len(found) == 16
    assert {place["image_sha256"] for place in found} == {
        image.sha256
        for split in ("train", "validation")
        for image in Snapshot.open(shaped).rows(split)  # type: ignore[arg-type]
    }
    by_shape = {(place["width_px"], place["height_px"]): place for place in found}
    assert (by_shape[24, 24]["bucket_width_px"], by_shape[24, 24]["cropped"]) == (16, 0.0)
    assert (by_shape[48, 24]["bucket_width_px"], by_shape[48, 24]["bucket_height_px"]) == (20, 12)
    text = CliRunner().invoke(main, arguments).stdout
    assert "16x16" in text and "20x12" in text
    assert "16 images in 3 buckets, none left out. --json lists the images." in text


# What is trained


def test_a_step_has_the_orders_images_whatever_their_sizes(shaped: Path, base: Path, tmp_path: Path) -> None:
    run = prepared(shaped, base, tmp_path, buckets=True, batch_size=5)
    plain = prepared(shaped, base, tmp_path, batch_size=5)
    assert isinstance(run.data.latents, BucketLatents)
    steps = [list(epoch_steps(each.family, each.data, each.plan, 1)) for each in (run, plain)]
    assert [len(step) for step in steps[0]] == [len(step) for step in steps[1]] == [5, 5, 2]
    assert any(isinstance(step, MixedBatch) for step in steps[0])
    for step, other in zip(*steps, strict=True):
        in_step = [images(one) for one in step.split(1)]
        assert sorted(in_step) == sorted(images(one) for one in other.split(1))
        assert {tuple(one.noisy_BCHW.shape[2:]) for one in step.split(8)} <= {(8, 8), (6, 10), (10, 6)}
    first = next(iter(steps[0][0].split(1)))
    alone = make_batch(run.family, run.data, 1, [place_of(run, first)])
    assert torch.equal(alone.noisy_BCHW, first.noisy_BCHW)
    late = list(epoch_steps(run.family, run.data, run.plan, 1, 1))
    for one, other in zip(late, steps[0][1:], strict=True):
        for part, same in zip(one.split(8), other.split(8), strict=True):
            assert torch.equal(part.noisy_BCHW, same.noisy_BCHW)


def images(one: Batch) -> tuple[int, int]:
    """What tells an image's draw from another's, whatever its size."""
    return int(one.timesteps_B[0]), int(one.captions_B[0])


def place_of(run: Any, one: Batch) -> int:
    return int((run.data.captions_N == one.captions_B[0]).nonzero()[0])


def test_every_image_counts_alike_in_a_step_of_several_sizes(shaped: Path, base: Path, tmp_path: Path) -> None:
    """The gradient of a step is the sum of its images' own, over the images of a full step; also of a short one."""
    run = prepared(shaped, base, tmp_path, buckets=True, batch_size=5, clip_norm=0.0)
    learner = Learner(run.method, run.config, run.plan)
    *_, short = epoch_steps(run.family, run.data, run.plan, 1)
    whole = next(iter(epoch_steps(run.family, run.data, run.plan, 1)))
    assert len(short) == 2
    for step in (whole, short):
        together = gradients(learner, run, [step])
        singly = gradients(learner, run, list(step.split(1)))
        for name, gradient in together.items():
            torch.testing.assert_close(gradient, singly[name], rtol=1e-4, atol=1e-6)


def gradients(learner: Learner, run: Any, steps: list[Any]) -> dict[str, torch.Tensor]:
    learner.optimiser.zero_grad()
    for step in steps:
        learner._gradients(run.data, step)
    return {name: weight.grad.clone() for name, weight in learner.parameters.items() if weight.grad is not None}


def test_processes_share_a_step_of_several_sizes(shaped: Path, base: Path, tmp_path: Path) -> None:
    run = prepared(shaped, base, tmp_path, buckets=True, batch_size=5)
    step = next(iter(epoch_steps(run.family, run.data, run.plan, 1)))
    assert isinstance(step, MixedBatch)
    shared = []
    for rank in range(4):
        processes = Processes(run.config)
        processes.count, processes.rank = 4, rank
        shared.append(processes.share(step, rank))
    counted = [one for part in shared for one in part.split(1) if float(one.weights_B) > 0]
    assert sorted(images(one) for one in counted) == sorted(images(one) for one in step.split(1))
    assert [len(part) for part in shared] == [2, 2, 1, 1]
    assert float(next(shared[3].split(1)).weights_B) == 0


def test_masks_and_pictures_of_a_class_go_with_buckets(shaped: Path, base: Path, tmp_path: Path) -> None:
    values: dict[str, Any] = {"method": "dreambooth", "captions": None, "class_images": 2, "sample_steps": 2}
    run = prepared(
        shaped, base, tmp_path, buckets=True, masked_loss=True, background_weight=0.1, batch_size=4, **values
    )
    for step in epoch_steps(run.family, run.data, run.plan, 1):
        assert len(step) == 8
        for one in step.split(8):
            assert one.mask_B1HW is not None
            assert one.mask_B1HW.shape[2:] == one.noisy_BCHW.shape[2:]
    learn(run)


def test_sdxl_is_told_the_buckets_sizes(shaped: Path, xl_base: Path, tmp_path: Path) -> None:
    run = prepared(shaped, xl_base, tmp_path, buckets=True)
    told = {
        tuple(size)
        for step in epoch_steps(run.family, run.data, run.plan, 1)
        for one in step.split(8)
        for size in one.sizes_B6.tolist()
    }
    assert told == {
        (24, 24, 0, 0, 16, 16),
        (24, 48, 0, 2, 12, 20),
        (48, 24, 2, 0, 20, 12),
        (24, 40, 0, 0, 12, 20),
    }


@pytest.mark.slow
def test_a_run_with_buckets_resumes_and_measures_each_image_at_its_size(
    shaped: Path, base: Path, tmp_path: Path
) -> None:
    (tmp_path / "prompts.txt").write_text("[unrelated] a red car\n")
    values: dict[str, Any] = {
        "buckets": True,
        "seeds": (1,),
        "state_every_seconds": 0.0,
        "epochs": 2,
        "save_epochs": (),
    }
    train(run_config(tmp_path, shaped, base, "whole", **values))
    asked = run_config(tmp_path, shaped, base, "broken", **values)
    with pytest.raises(Stop):
        train(asked, stop_when("training", "17/24"))
    assert train(asked).resumed
    assert_same_run(tmp_path / "whole", tmp_path / "broken", 2)
    square = run_config(tmp_path, shaped, base, "square", **values | {"buckets": False, "epochs": 1})
    train(square)
    one, other = (RunReport.read(tmp_path / name / "run.json") for name in ("whole", "square"))
    assert one.checkpoints[0].grid == other.checkpoints[0].grid  # Pictures are drawn square, from one cache.
    found = [report.checkpoints[0].evaluation for report in (one, other)]
    assert found[0] is not None and found[1] is not None
    square_sizes = {
        image.sha256 for image in Snapshot.open(shaped).rows("validation") if image.width_px == image.height_px
    }
    for sha256, ours, theirs in zip(one.held_out_images, *(each.held_out["human"] for each in found), strict=True):
        assert (ours == pytest.approx(theirs, rel=1e-4)) is (sha256 in square_sizes)
