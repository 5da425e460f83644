"""DreamBooth: prompts, pictures of the class, their weight in the loss, resume, bad input; the same with LoRA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from schemas.errors import BadOption
from schemas.progress import silent
from schemas.run import RunReport
from tests.trainer_client.methods.runs import config, pictures, prepared, run, tensors
from trainer_client.config import TrainConfig
from trainer_client.config.methods import DreamBooth
from trainer_client.data.batches import epoch_steps
from trainer_client.data.snapshot import Row
from trainer_client.data.training_track import TRACK
from trainer_client.train import train
from trainer_client.train.checkpoint import checkpoint_name
from trainer_client.train.class_images import class_images
from trainer_client.train.train_step import Learner

SUBJECT: dict[str, Any] = {
    "method": "dreambooth",
    "captions": None,
    "instance_prompt": "photo of sks frog",
    "class_prompt": "photo of a frog",
    "class_images": 3,
    "learning_rate": 1e-3,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, snapshot: Path, base: Path) -> Path:
    folder = tmp_path_factory.mktemp("dreambooth") / "run"
    run(snapshot, base, folder, **SUBJECT)
    return folder


@pytest.mark.slow
def test_the_report_says_what_was_trained_on(trained: Path) -> None:
    report = RunReport.read(trained / "run.json")
    assert report.captions == TRACK
    assert [track.name for track in report.snapshot.tracks] == ["template", "human", TRACK]
    assert len(report.class_images) == 3
    evaluation = report.checkpoints[-1].evaluation
    assert evaluation is not None
    assert set(evaluation.held_out) == {"template", "human", TRACK}
    assert set(evaluation.train_subset) == {TRACK}
    assert set(evaluation.held_out_shuffled) == {"template", "human"}


def test_defaults_are_enough(snapshot: Path, base: Path, tmp_path: Path) -> None:
    found = TrainConfig.of(snapshot=snapshot, base=str(base), out=Path("o"), method="dreambooth").method
    assert isinstance(found, DreamBooth)
    assert (found.learning_rate, found.class_images, found.prior_weight) == (5e-6, 100, 1.0)
    assert (found.instance_prompt, found.class_prompt) == ("a picture of sks subject", "a picture of a subject")
    run = prepared(snapshot, base, tmp_path / "run", method="dreambooth", class_images=1, prompts=None, captions=None)
    assert [prompt.text for prompt in run.report.prompts[:2]] == [found.instance_prompt, found.class_prompt]


def test_bad_input(snapshot: Path, base: Path) -> None:
    def asked(**values: Any) -> TrainConfig:
        return TrainConfig.of(snapshot=snapshot, base=str(base), out=Path("o"), **values)

    with pytest.raises(ValueError, match=r"--class-prompt is missing: give the class of 'photo of sks dog'"):
        asked(method="dreambooth", instance_prompt="photo of sks dog")
    alone = asked(method="dreambooth", instance_prompt="photo of sks dog", prior_weight=0)
    assert alone.method.subject.class_prompt is None
    assert asked(method="dreambooth", class_prompt="photo of a dog").method.subject.instance_prompt is None
    with pytest.raises(ValueError, match="--class-images needs --class-prompt"):
        asked(method="lora", class_images=5)
    with pytest.raises(ValueError, match="--class-prompt works with --method lora or --method dreambooth"):
        asked(class_prompt="photo of a dog")


def test_pictures_of_the_class_are_the_bases_and_are_drawn_once(snapshot: Path, base: Path, tmp_path: Path) -> None:
    found = prepared(snapshot, base, tmp_path / "run", **SUBJECT)
    drawn: list[int] = []

    def listen(stage: str, done: int, total: int | None, detail: str = "") -> None:
        drawn.append(done)

    def rows_of(**options: Any) -> list[Row]:
        asked = found.config.updated(**options)
        return class_images(found.family, asked.method.subject, asked.sampling, found.cache, progress=listen)

    rows = rows_of()
    assert (drawn, len({row.sha256 for row in rows})) == ([], 3)
    more = rows_of(class_images=5)
    assert [row.sha256 for row in more[:3]] == [row.sha256 for row in rows]
    assert drawn == [5]
    rows[0].path.write_bytes(b"damaged")
    again = rows_of()
    assert [row.sha256 for row in again] == [row.sha256 for row in rows]
    other = rows_of(class_prompt="photo of a fox")
    assert not {row.sha256 for row in other} & {row.sha256 for row in rows}


def test_a_picture_of_the_class_goes_with_every_image(snapshot: Path, base: Path, tmp_path: Path) -> None:
    found = prepared(snapshot, base, tmp_path / "run", **SUBJECT, prior_weight=0.5)
    alone = prepared(snapshot, base, tmp_path / "alone", **(SUBJECT | {"class_prompt": None, "prior_weight": 0.0}))
    steps = list(epoch_steps(found.family, found.data, found.plan, 1))
    without = list(epoch_steps(alone.family, alone.data, alone.plan, 1))
    assert [len(step.timesteps_B) for step in steps] == [10, 10, 4]
    for step, images in zip(steps, without, strict=True):
        half = len(images.timesteps_B)
        assert torch.equal(step.noisy_BCHW[:half], images.noisy_BCHW)
        assert step.weights_B.tolist() == [1.0] * half + [0.5] * half
        assert len(set(step.captions_B[half:].tolist())) == 1
        assert step.captions_B[0] != step.captions_B[half]
    late = list(epoch_steps(found.family, found.data, found.plan, 1, 2))
    assert torch.equal(late[0].noisy_BCHW, steps[2].noisy_BCHW)
    other = list(epoch_steps(found.family, found.data, found.plan, 2))
    assert not torch.equal(other[0].noisy_BCHW[5:], steps[0].noisy_BCHW[5:])


def test_the_loss_is_that_of_the_images_plus_the_weighted_one_of_the_class(
    snapshot: Path, base: Path, tmp_path: Path
) -> None:
    found = prepared(snapshot, base, tmp_path / "run", **SUBJECT, prior_weight=0.5)
    learner = Learner(found.method, found.config, found.plan)
    step = next(epoch_steps(found.family, found.data, found.plan, 1))
    with torch.no_grad():
        text = found.data.embedded(found.family, step.captions_B)
        error = found.family.predict(found.family.denoiser, step.noisy_BCHW, step.timesteps_B, text) - step.target_BCHW
    losses = error.square().mean(dim=(1, 2, 3))
    assert float(learner.learn(found.data, step)) == pytest.approx(
        float(losses[:5].sum() + losses[5:].sum() / 2), rel=1e-5
    )


class Stop(Exception):
    pass


@pytest.mark.slow
def test_a_run_that_broke_off_ends_like_one_that_did_not(
    trained: Path, snapshot: Path, base: Path, tmp_path: Path
) -> None:
    def listen(stage: str, done: int, total: int | None, detail: str = "") -> None:
        if stage == "training" and done == 17:
            raise Stop

    with pytest.raises(Stop):
        run(snapshot, base, tmp_path / "run", listen, **SUBJECT, state_every_seconds=0.0)
    assert train(config(snapshot, base, tmp_path / "run", **SUBJECT), silent).resumed
    ours, theirs = (tensors(folder / checkpoint_name(2)) for folder in (tmp_path / "run", trained))
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert (pictures(tmp_path / "run") == pictures(trained)).all()


def test_captions_that_the_prompt_has_no_place_for_are_refused(snapshot: Path, base: Path, tmp_path: Path) -> None:
    """Whoever compares tracks would get the same run from each."""
    with pytest.raises(BadOption, match=r"--captions human would have no effect: 'photo of sks frog' .*\{caption\}"):
        prepared(snapshot, base, tmp_path / "run", **SUBJECT | {"captions": "human"})
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_subject_by_lora_and_by_its_captions(snapshot: Path, base: Path, tmp_path: Path) -> None:
    values = SUBJECT | {"method": "lora", "instance_prompt": "sks frog, {caption}", "captions": "human"}
    report = run(snapshot, base, tmp_path / "lora", **values, epochs=1)
    example = next(example for example in report.examples if TRACK in example.captions)
    assert example.captions[TRACK] == f"sks frog, {example.captions['human']}"
    assert len(report.class_images) == 3
