"""A run from end to end, its report and checkpoints, and what happens when it is killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from schemas.digest import sha256_file
from schemas.errors import AlreadyExists, BadOption, ChecksumMismatch
from schemas.progress import silent
from schemas.run import RunReport
from tests.trainer_client.conftest import write_snapshot
from tests.trainer_client.train.conftest import UNET, Stop, assert_same_run, config, stop_when, weights
from trainer_client.check.benchmark import NotEnoughMemory
from trainer_client.config import OPTIONS
from trainer_client.data.batches import Batch
from trainer_client.data.snapshot import Snapshot
from trainer_client.train import NotFinite, TrainResult, train
from trainer_client.train.checkpoint import checkpoint_name
from trainer_client.train.preparation import OtherRun, prepare
from trainer_client.train.resume_state import RunBusy
from trainer_client.train.train_step import TrainStep


def test_the_report_tells_everything(whole: Path, snapshot: Path) -> None:
    report = RunReport.read(whole / "run.json")
    opened = Snapshot.open(snapshot)
    assert (report.name, report.status, report.captions) == ("whole", "complete", "human")
    assert report.snapshot.identity == opened.manifest.identity
    assert (report.snapshot.train_images, report.snapshot.held_out_images) == (12, 4)
    assert set(report.config) == set(OPTIONS)
    assert report.config["warmup_steps"] == 3
    assert report.config["save_epochs"] == [0, 1, 3]
    assert (report.config["precision"], report.config["resolution"]) == ("fp32", 16)
    assert [(epoch.epoch, epoch.steps) for epoch in report.epochs] == [(1, 3), (2, 6), (3, 9)]
    assert all(epoch.train_loss > 0 and epoch.images_per_second > 0 for epoch in report.epochs)
    assert report.epochs[0].learning_rate == pytest.approx(1e-3 * 3 / 4)
    assert report.epochs[2].learning_rate == 1e-3
    assert {"device_name", "torch", "diffusers", "python", "platform", "amatl"} <= set(report.environment)
    assert report.cost.price_per_hour == 2.0
    assert report.cost.training_seconds == pytest.approx(sum(epoch.seconds for epoch in report.epochs))
    assert min(report.cost.sampling_seconds, report.cost.evaluating_seconds, report.cost.preparing_seconds) > 0
    assert report.truncation.captions == 16
    assert not (whole / "state").exists()


def test_grids_and_references_are_what_the_report_says(whole: Path) -> None:
    from PIL import Image

    report = RunReport.read(whole / "run.json")
    assert report.references is not None
    grids = [checkpoint.grid for checkpoint in report.checkpoints]
    for grid in [*grids, report.references]:
        assert grid is not None
        path = whole / grid.file.path
        assert (sha256_file(path), path.stat().st_size) == (grid.file.sha256, grid.file.size_bytes)
        with Image.open(path) as image:
            assert image.size == (grid.columns * grid.tile_px, grid.rows * grid.tile_px)
    assert (grids[0].rows, grids[0].columns) == (4, 2) if grids[0] else False
    assert report.references.columns == len(report.examples) == 8
    assert report.prompt_references == [None, None, None, 0]
    assert report.examples[0].captions["human"] == report.prompts[3].text
    assert report.prompts[3].role == "seen-caption"
    assert {example.split for example in report.examples} == {"train", "validation"}


def test_evaluations_are_per_image_and_start_from_the_base(whole: Path) -> None:
    report = RunReport.read(whole / "run.json")
    assert len(report.held_out_images) == len(report.train_subset_images) == 4
    for checkpoint in report.checkpoints:
        found = checkpoint.evaluation
        assert found is not None
        assert set(found.held_out) == set(found.held_out_shuffled) == {"template", "human"}
        assert set(found.train_subset) == {"human"}
        assert {len(losses) for losses in (*found.held_out.values(), *found.train_subset.values())} == {4}
        assert len(found.leakage) == 4  # two unrelated prompts, two seeds
        assert (max(found.leakage) == 0) is (checkpoint.epoch == 0)
    first, *_, last = (checkpoint.evaluation for checkpoint in report.checkpoints)
    assert first is not None
    assert last is not None
    assert sum(last.train_subset["human"]) < sum(first.train_subset["human"])


def test_checkpoints_load_by_from_pretrained_and_know_their_lineage(whole: Path) -> None:
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

    report = RunReport.read(whole / "run.json")
    assert [checkpoint.folder for checkpoint in report.checkpoints] == [checkpoint_name(epoch) for epoch in (0, 1, 3)]
    loaded = [UNet2DConditionModel.from_pretrained(whole / checkpoint_name(epoch) / "unet") for epoch in (0, 3)]
    assert any(
        not torch.equal(one, other) for one, other in zip(*(model.parameters() for model in loaded), strict=True)
    )
    assert StableDiffusionPipeline.from_pretrained(whole / checkpoint_name(3), safety_checker=None) is not None
    with safe_open(whole / checkpoint_name(3) / UNET, framework="pt") as file:
        lineage = file.metadata()
    assert lineage["amatl.snapshot"] == report.snapshot.identity
    assert lineage["amatl.captions"] == "human"
    assert lineage["amatl.base"] == report.base.digest
    assert lineage["amatl.epoch"] == "3"
    assert lineage["amatl.config"] == report.config_digest


def test_untrained_components_are_the_base_checkpoints_own_files(whole: Path) -> None:
    names = ("vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors")
    for name in names:
        one, other = (whole / checkpoint_name(epoch) / name for epoch in (0, 3))
        assert one.samefile(other)
    assert not (whole / checkpoint_name(0) / UNET).samefile(whole / checkpoint_name(3) / UNET)
    assert not list(whole.rglob("*.tmp"))


def test_a_second_run_takes_epoch_0_from_the_cache(whole: Path, folder: Path, snapshot: Path, base: Path) -> None:
    sampled: list[int] = []

    def watch(stage: str, done: int, total: int | None, detail: str = "") -> None:
        if stage == "sampling" and detail == "epoch 0":
            sampled.append(done)

    train(config(folder, snapshot, base, "second", captions="template", epochs=1), watch)
    assert sampled == []
    reports = [RunReport.read(run / "run.json") for run in (whole, folder / "second")]
    first, second = (report.checkpoints[0] for report in reports)
    assert first.grid == second.grid
    assert first.evaluation is not None
    assert second.evaluation is not None
    assert first.evaluation.held_out == second.evaluation.held_out
    assert set(second.evaluation.train_subset) == {"template"}
    assert second.sampling_seconds < 1


def test_a_complete_run_says_so_without_loading_the_model(
    whole: Path, folder: Path, snapshot: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("trainer_client.load_model.load")
    before = (whole / "run.json").read_bytes()
    result = train(config(folder, snapshot, base, "whole", price_per_hour=9.0, eval_batch_size=3))
    assert isinstance(result, TrainResult)
    assert result.was_complete
    assert (whole / "run.json").read_bytes() == before
    assert not (whole / "state").exists()


def test_other_settings_are_refused_by_name(
    whole: Path, folder: Path, snapshot: Path, base: Path, v_base: Path
) -> None:
    with pytest.raises(OtherRun) as caught:
        train(config(folder, snapshot, base, "whole", learning_rate=2e-3, epochs=4, captions="template"))
    message = str(caught.value)
    for phrase in ("--learning-rate 0.001 there, 0.002 here", "--epochs 3 there, 4 here", "--captions human there"):
        assert phrase in message
    with pytest.raises(OtherRun, match=r"other prompts"):
        train(config(folder, snapshot, base, "whole", prompts=None))


def test_a_folder_of_something_else_is_left_alone(folder: Path, snapshot: Path, base: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(AlreadyExists, match=r"holds thesis\.txt but no run\.json"):
        train(config(folder, snapshot, base, "out", out=tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_bad_input_is_refused_before_a_folder_is_made(folder: Path, snapshot: Path, base: Path, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="`humn`"):
        train(config(folder, snapshot, base, "never", captions="humn"))

    def caption(split: str, number: int) -> dict[str, str | None]:
        return {"template": None if number == 2 else "a frog"}

    partly = write_snapshot(tmp_path / "partly", caption=caption, tracks=("template",))
    with pytest.raises(BadOption, match="1 of 12 training images have no caption in `template`"):
        train(config(folder, partly, base, "never", captions=None))
    damaged = write_snapshot(tmp_path / "damaged")
    picture = next((damaged / "train").glob("*.png"))
    picture.write_bytes(picture.read_bytes()[:-1] + b"x")
    with pytest.raises(ChecksumMismatch, match=picture.name):
        train(config(folder, damaged, base, "never"))
    assert not (folder / "never").exists()


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint(
    folder: Path, snapshot: Path, base: Path
) -> None:
    with pytest.raises(NotFinite, match=r"at epoch 1, step \d; checkpoint 0 is kept\. .* --learning-rate below 1e\+30"):
        train(config(folder, snapshot, base, "wild", learning_rate=1e30, warmup_steps=0))
    report = RunReport.read(folder / "wild" / "run.json")
    assert (report.status, [checkpoint.epoch for checkpoint in report.checkpoints]) == ("interrupted", [0])
    assert (folder / "wild" / checkpoint_name(0) / UNET).is_file()
    assert all(torch.isfinite(tensor).all() for tensor in weights(folder / "wild", 0).values())


@pytest.mark.slow
def test_too_little_memory_is_said_and_the_run_goes_on_with_smaller_batches(
    whole: Path, folder: Path, snapshot: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    for part, option in (
        ("evaluate", "--eval-batch-size below 64"),
        ("sample_checkpoint", "--sample-batch-size below 16"),
    ):
        with monkeypatch.context() as patch, pytest.raises(NotEnoughMemory, match=f"Use a {option} to resume this"):
            patch.setattr(f"trainer_client.train.{part}", too_large)
            train(config(folder, snapshot, base, "large"))
        assert RunReport.read(folder / "large" / "run.json").status == "interrupted"
    with monkeypatch.context() as patch, pytest.raises(NotEnoughMemory, match="Use --auto-batch to resume this"):
        patch.setattr(TrainStep, "_backward", too_large)
        train(config(folder, snapshot, base, "large"))
    train(config(folder, snapshot, base, "large", sample_batch_size=3, state_every_seconds=1))
    assert weights(folder / "large").keys() == weights(whole).keys()


@pytest.mark.slow
def test_auto_batch_goes_on_with_what_fitted(
    folder: Path, snapshot: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same steps in smaller batches; a run that is cut off remembers how small."""
    tried: list[int] = []
    backward = TrainStep._backward

    def small(learner: TrainStep, micro: Batch, *more: Any) -> Any:
        tried.append(len(micro.timesteps_B))
        if tried[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return backward(learner, micro, *more)

    settings = {"batch_size": 6, "auto_batch": True, "epochs": 4, "save_epochs": (1,), "state_every_seconds": 0}
    monkeypatch.setattr(TrainStep, "_backward", small)
    whole = train(config(folder, snapshot, base, "auto-whole", **settings))
    assert set(tried[2:]) == {2} and tried[:2] == [6, 3]
    with pytest.raises(Stop):
        train(config(folder, snapshot, base, "auto", **settings), stop_when("evaluating", "epoch 1"))
    tried.clear()
    resumed = train(config(folder, snapshot, base, "auto", **settings))
    assert resumed.resumed and set(tried) == {2} and resumed.steps == whole.steps
    assert_same_run(folder / "auto-whole", folder / "auto", epoch=4)


@pytest.mark.slow
def test_progress_names_every_stage_and_counts_over_the_whole_run(folder: Path, snapshot: Path, base: Path) -> None:
    heard: dict[str, list[tuple[int, int | None, str]]] = {}

    def listen(stage: str, done: int, total: int | None, detail: str = "") -> None:
        heard.setdefault(stage, []).append((done, total, detail))

    train(config(folder, snapshot, base, "heard", captions="template", seeds=(7,), epochs=2), listen)
    for stage in ("saving", "training", "sampling", "evaluating"):
        counts = [done for done, _, _ in heard[stage]]
        assert counts == sorted(counts)
        assert heard[stage][-1][0] == heard[stage][-1][1]
    assert len({total for _, total, _ in heard["evaluating"]}) == 1
    assert "epoch 2/2, loss " in heard["training"][-1][2]
    assert "to the end (cost 0.0" in heard["training"][-1][2]


@pytest.mark.slow
def test_snapshots_without_held_out_images_train_too(folder: Path, base: Path, tmp_path: Path) -> None:
    bare = write_snapshot(tmp_path / "bare", train=3, validation=0)
    train(config(folder, bare, base, "bare", epochs=1, prompts=None), silent)
    report = RunReport.read(folder / "bare" / "run.json")
    found = report.checkpoints[-1].evaluation
    assert found is not None
    assert (report.held_out_images, found.held_out_shuffled) == ([], {})
    assert len(found.train_subset["human"]) == 3
    assert json.loads((folder / "bare" / "run.json").read_text())["type"] == "amatl/run/v1"


@pytest.mark.slow
def test_a_run_that_another_process_finished_meanwhile_is_not_trained_again(
    folder: Path, snapshot: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = config(folder, snapshot, base, "overtaken", epochs=1, save_epochs=(1,))

    def overtaken(*arguments: Any) -> Any:
        found = prepare(*arguments)
        with monkeypatch.context() as other:
            other.setattr("trainer_client.train.prepare", prepare)
            train(asked)
        return found

    monkeypatch.setattr("trainer_client.train.prepare", overtaken)
    with pytest.raises(RunBusy, match="has just trained there"):
        train(asked)
    assert RunReport.read(asked.output.out / "run.json").status == "complete"
