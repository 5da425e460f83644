"""What a step trains on and how: keyed draws, weights of short steps, accumulation, the moving average."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from schemas.progress import silent
from tests.trainer_client.methods.runs import varied
from trainer_client.config import TrainConfig
from trainer_client.data.batches import epoch_steps, make_batch
from trainer_client.train.preparation import Prepared, encode, prepare
from trainer_client.train.train_step import Learner


def prepared(snapshot: Path, base: Path, tmp_path: Path, **values: Any) -> Prepared:
    settings: dict[str, Any] = {
        "captions": "human",
        "epochs": 2,
        "batch_size": 5,
        "learning_rate": 1e-3,
        "warmup_steps": 0,
    }
    config = TrainConfig.of(
        snapshot=snapshot, base=str(base), out=tmp_path / "run", cache=tmp_path / "cache", **(settings | values)
    )
    run = prepare(config, silent)
    encode(run, silent)
    return run


def learn(run: Prepared, epochs: int = 1) -> tuple[Learner, list[float]]:
    learner, losses = Learner(run.method, run.config, run.plan), []
    for epoch in range(1, epochs + 1):
        steps = epoch_steps(run.family, run.data, run.plan, epoch)
        losses += [float(learner.learn(run.data, drawn)) / len(drawn) for drawn in steps]
    return learner, losses


def test_two_tracks_train_on_the_same_order_timesteps_noise_and_flips(
    snapshot: Path, base: Path, tmp_path: Path
) -> None:
    runs = [prepared(snapshot, base, tmp_path, captions=track, flip=True) for track in ("human", "template")]
    steps = [list(epoch_steps(run.family, run.data, run.plan, 1)) for run in runs]
    assert [len(drawn.timesteps_B) for drawn in steps[0]] == [5, 5, 2]
    for one, other in zip(*steps, strict=True):
        assert torch.equal(one.noisy_BCHW, other.noisy_BCHW)
        assert torch.equal(one.target_BCHW, other.target_BCHW)
        assert torch.equal(one.timesteps_B, other.timesteps_B)
    texts = [run.data.embedded(run.family, drawn[0].captions_B) for run, drawn in zip(runs, steps, strict=True)]
    assert not torch.equal(*texts)


def test_every_epoch_draws_every_image_once_and_anew(snapshot: Path, base: Path, tmp_path: Path) -> None:
    run = prepared(snapshot, base, tmp_path)
    epochs = [list(epoch_steps(run.family, run.data, run.plan, epoch)) for epoch in (1, 2)]
    timesteps = [torch.cat([drawn.timesteps_B for drawn in steps]) for steps in epochs]
    captions = [torch.cat([drawn.captions_B for drawn in steps]) for steps in epochs]
    assert sorted(captions[0].tolist()) == sorted(captions[1].tolist()) == sorted(run.data.captions_N.tolist())
    assert captions[0].tolist() != captions[1].tolist()
    assert sorted(timesteps[0].tolist()) != sorted(timesteps[1].tolist())


def test_an_epoch_entered_late_gives_the_same_bits(
    snapshot: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer_client.data.batches.BLOCK_NUMBERS", 8 * 4 * 8 * 8)  # Blocks of one step of 5 images.
    run = prepared(snapshot, base, tmp_path)
    whole = list(epoch_steps(run.family, run.data, run.plan, 1))
    monkeypatch.undo()
    for first in range(3):
        late = list(epoch_steps(run.family, run.data, run.plan, 1, first))
        assert len(late) == 3 - first
        for one, other in zip(late, whole[first:], strict=True):
            assert torch.equal(one.noisy_BCHW, other.noisy_BCHW)


def test_caption_dropout_and_flips_are_keyed_by_image(snapshot: Path, base: Path, tmp_path: Path) -> None:
    run = prepared(snapshot, base, tmp_path, caption_dropout=0.5, flip=True)
    everything = list(range(12))
    one = make_batch(run.family, run.data, 1, everything)
    other = make_batch(run.family, run.data, 1, everything[::-1])
    assert torch.equal(one.captions_B, other.captions_B.flip(0))
    assert torch.equal(one.noisy_BCHW, other.noisy_BCHW.flip(0))
    dropped = int((one.captions_B == 0).sum())
    assert 0 < dropped < 12
    plain = make_batch(run.family, varied(run, flip=False), 1, everything)
    changed = (one.noisy_BCHW != plain.noisy_BCHW).flatten(1).any(dim=1)
    assert 0 < int(changed.sum()) < 12
    assert run.text is not None
    assert run.text.captions[""] == 0


def test_accumulation_gives_the_gradient_of_the_large_batch(snapshot: Path, base: Path, tmp_path: Path) -> None:
    large, _ = learn(prepared(snapshot, base, tmp_path, batch_size=6, epsilon=1e-3))
    small, _ = learn(prepared(snapshot, base, tmp_path, batch_size=2, accumulation=3, epsilon=1e-3))
    assert large.step == small.step == 2
    for one, other in zip(large.parameters.values(), small.parameters.values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_a_short_last_step_weighs_its_images_as_any_other(snapshot: Path, base: Path, tmp_path: Path) -> None:
    run = prepared(snapshot, base, tmp_path, batch_size=5, clip_norm=0.0)
    learner = Learner(run.method, run.config, run.plan)
    gradients: list[dict[str, torch.Tensor]] = []

    def keep(_: torch.Tensor) -> None:
        gradients.append(
            {name: weight.grad.clone() for name, weight in learner.parameters.items() if weight.grad is not None}
        )

    learner._update = keep  # type: ignore[method-assign]
    (images,) = make_batch(run.family, run.data, 1, range(12)).split(12)
    learner.learn(run.data, images.part(0, 2))
    learner.optimiser.zero_grad()
    learner.learn(run.data, images.part(0, 1))
    learner.learn(run.data, images.part(1, 2))  # Adds to the gradient of the line above.
    short, _, singly = gradients
    for name, gradient in short.items():
        torch.testing.assert_close(gradient, singly[name], rtol=0, atol=1e-4)  # Three steps of 1e-3.


def test_clipping_bounds_the_gradient(snapshot: Path, base: Path, tmp_path: Path) -> None:
    run = prepared(snapshot, base, tmp_path, clip_norm=1e-9, epsilon=1e-3, weight_decay=0.0)
    before = {
        name: weight.detach().clone() for name, weight in Learner(run.method, run.config, run.plan).parameters.items()
    }
    learner, _ = learn(run)
    moved = max(float((weight.detach() - before[name]).abs().max()) for name, weight in learner.parameters.items())
    assert moved < 1e-8


def test_the_average_is_swapped_in_and_out(snapshot: Path, base: Path, tmp_path: Path) -> None:
    learner, _ = learn(prepared(snapshot, base, tmp_path, ema=True))
    name, weight = next(iter(learner.parameters.items()))
    trained, average = weight.detach().clone(), learner.average[name].clone()
    assert not torch.equal(trained, average)
    with learner.averaged():
        assert torch.equal(weight, average)
    assert torch.equal(weight, trained)
    assert torch.equal(learner.average[name], average)


def test_the_average_is_the_one_of_its_formula(snapshot: Path, base: Path, tmp_path: Path) -> None:
    run = prepared(snapshot, base, tmp_path, ema=True, ema_decay=0.3)
    learner = Learner(run.method, run.config, run.plan)
    name = next(iter(learner.parameters))
    average, steps = learner.parameters[name].detach().double().clone(), 0
    for epoch in (1, 2):
        for step in epoch_steps(run.family, run.data, run.plan, epoch):
            learner.learn(run.data, step)
            steps += 1
            decay = min(0.3, (1 + steps) / (10 + steps))
            average = decay * average + (1 - decay) * learner.parameters[name].detach().double()
    assert steps > 3  # Past the warm-up.
    torch.testing.assert_close(learner.average[name].double(), average, atol=1e-6, rtol=1e-6)


@pytest.mark.slow
def test_the_text_encoder_learns_only_when_asked_to(snapshot: Path, base: Path, tmp_path: Path) -> None:
    for asked in (False, True):
        run = prepared(snapshot, base, tmp_path, train_text_encoder=asked)
        before = [weight.detach().clone() for weight in run.family.text_encoders["text_encoder"].parameters()]
        learner, _ = learn(run)
        after = list(run.family.text_encoders["text_encoder"].parameters())
        assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True)) is asked
        assert {name.split(".")[0] for name in learner.parameters} == {"denoiser", *(["text_encoder"] if asked else [])}
        assert (run.text is None) is asked


@pytest.mark.slow
def test_a_v_prediction_base_and_min_snr_learn(snapshot: Path, v_base: Path, tmp_path: Path) -> None:
    run = prepared(snapshot, v_base, tmp_path, min_snr_gamma=5.0)
    drawn = make_batch(run.family, run.data, 1, range(12))
    assert float(drawn.weights_B.max()) <= 5.0
    assert len(drawn.weights_B.unique()) > 1
    _, losses = learn(run, epochs=8)
    assert sum(losses[-6:]) < sum(losses[:6])


GOLDEN_LOSSES = [1.11993, 1.07128, 1.08131, 0.97093, 0.99616, 0.81414, 0.8215, 0.81885, 0.8477, 0.78421]


def test_ten_steps_give_the_losses_they_always_gave(snapshot: Path, base: Path, tmp_path: Path) -> None:
    """Raise no tolerance here: a change of these numbers is a change of what every past run would learn."""
    run = prepared(snapshot, base, tmp_path, batch_size=4, epochs=4, flip=True, caption_dropout=0.2, ema=True)
    _, losses = learn(run, epochs=4)
    assert losses[:10] == pytest.approx(GOLDEN_LOSSES, abs=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_recorded_kernels_learn_what_the_others_learn(
    snapshot: Path, base: Path, tmp_path: Path, precision: str
) -> None:
    values = {"device": "cuda", "precision": precision, "accumulation": 2, "batch_size": 2, "ema": True}
    learnt = {}
    for wanted in ("on", "off"):
        learner, losses = learn(prepared(snapshot, base, tmp_path, **values, cuda_graph=wanted), epochs=6)
        assert (learner.graphed is not None) is (wanted == "on")
        learnt[wanted] = losses
    assert learnt["on"] == pytest.approx(learnt["off"], rel=1e-3 if precision == "fp32" else 3e-2)


@pytest.mark.gpu
def test_a_gpu_learns_what_the_cpu_learns(snapshot: Path, base: Path, tmp_path: Path) -> None:
    losses = [
        learn(prepared(snapshot, base, tmp_path, device=device, precision="fp32", flip=True), epochs=4)[1]
        for device in ("cpu", "cuda")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)


def test_auto_batch_halves_what_goes_through_and_keeps_the_step(
    snapshot: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of a step is counted twice, and the weights are those of a whole one."""
    wanted, _ = learn(prepared(snapshot, base, tmp_path, precision="fp32"))
    run = prepared(snapshot, base, tmp_path, precision="fp32", auto_batch=True)
    predict, calls = type(run.family).predict, []

    def small_memory(
        family: Any, denoiser: torch.nn.Module, noisy_BCHW: torch.Tensor, *others: torch.Tensor
    ) -> torch.Tensor:
        calls.append(len(noisy_BCHW))
        if len(noisy_BCHW) > 2 or len(calls) == 3:  # The third call: a batch that would fit, by bad luck.
            raise torch.OutOfMemoryError("CUDA out of memory")
        return predict(family, denoiser, noisy_BCHW, *others)

    monkeypatch.setattr(type(run.family), "predict", small_memory)
    learner, _ = learn(run)
    assert learner.images_at_once == 1
    assert calls[:4] == [5, 3, 2, 1]
    for name, weight in learner.parameters.items():
        apart = (weight - wanted.parameters[name]).abs()
        assert apart.max() < 1e-3  # A step: where a gradient is nearly zero, rounding sets its sign.
        assert (apart > 1e-4).float().mean() < 1e-3


def test_without_auto_batch_memory_errors_come_out(
    snapshot: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = prepared(snapshot, base, tmp_path)

    def no_memory(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(type(run.family), "predict", no_memory)
    with pytest.raises(torch.OutOfMemoryError):
        learn(run)
