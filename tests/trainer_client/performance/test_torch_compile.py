"""The bf16 copy, the layers that keep channels last, compiled blocks: they learn what the plain passes learn."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from schemas.progress import silent
from tests.trainer_client.train.test_learning import learn, prepared
from trainer_client.check.benchmark import trained_name
from trainer_client.data.batches import epoch_steps, make_batch
from trainer_client.models import load_family
from trainer_client.performance import channels_last, torch_compile
from trainer_client.performance.bf16_copy import DenoiserCopy, worth_it
from trainer_client.sample.engine import drawn_name
from trainer_client.train.train_step import Learner


def test_the_exchanged_layers_compute_what_the_others_do(base: Path) -> None:
    family: Any = load_family(str(base))
    for module, given in (
        (family.denoiser, (torch.randn(2, 4, 16, 24), torch.tensor([3, 700]), torch.randn(2, 77, family.window))),
        (family.vae, (torch.randn(2, 3, 32, 48),)),
    ):
        width = getattr(module.config, "cross_attention_dim", None)
        if width:
            given = (*given[:2], torch.randn(2, 77, width))
        kept = copy.deepcopy(module)
        channels_last.convert(kept)
        assert [name for name, _ in kept.named_parameters()] == [name for name, _ in module.named_parameters()]
        expected, found = module(*given).sample, kept(*given).sample
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        if width:
            expected.square().mean().backward()
            found.square().mean().backward()
            for one, other in zip(kept.parameters(), module.parameters(), strict=True):
                torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-6)


def test_the_layers_answer_in_the_layout_they_were_asked_in() -> None:
    x = torch.randn(2, 32, 8, 8).to(memory_format=torch.channels_last)
    norm = channels_last.GroupNorm(8, 32)
    assert norm(x).is_contiguous(memory_format=torch.channels_last)
    assert norm(x.contiguous()).is_contiguous()
    torch.testing.assert_close(norm(x.flatten(2)), torch.nn.functional.group_norm(x.flatten(2), 8))


def test_the_copy_follows_the_weights_and_gives_its_gradients_away(base: Path, snapshot: Path, tmp_path: Path) -> None:
    run = prepared(snapshot, base, tmp_path, precision="bf16", bf16_copy="on")
    learner, _ = learn(run)
    assert learner.working is not None
    copies = dict(learner.working.module.named_parameters())
    assert {weight.dtype for weight in copies.values()} == {torch.bfloat16}
    assert {weight.dtype for weight in learner.parameters.values()} == {torch.float32}
    for name, weight in learner.parameters.items():
        assert torch.equal(copies[name.removeprefix("denoiser.")], weight.to(torch.bfloat16))
        assert weight.grad is None and copies[name.removeprefix("denoiser.")].grad is None


def test_passes_through_the_copy_add_up_in_float32(base: Path, snapshot: Path, tmp_path: Path) -> None:
    run = prepared(snapshot, base, tmp_path, precision="bf16", bf16_copy="on")
    learner = Learner(run.method, run.config, run.plan)
    kept: list[dict[str, torch.Tensor]] = []
    learner._update = lambda _: kept.append(  # type: ignore[method-assign]
        {name: weight.grad.clone() for name, weight in learner.parameters.items() if weight.grad is not None}
    )
    (images,) = make_batch(run.family, run.data, 1, range(4)).split(4)
    for part in (images.part(0, 2), images.part(2, 4), images.part(0, 2)):
        learner.learn(run.data, part)
        if len(kept) == 2:
            learner.optimiser.zero_grad(set_to_none=True)
    first, both, alone = kept
    assert first.keys() == both.keys() == set(learner.parameters)
    for name, gradient in first.items():
        assert gradient.dtype == torch.float32
        torch.testing.assert_close(gradient, alone[name], rtol=0, atol=1e-3)
        assert not torch.equal(gradient, both[name]) or not gradient.any()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_copy_learns_what_autocast_learns(base: Path, snapshot: Path, tmp_path: Path, method: str) -> None:
    losses = {}
    for wanted in ("on", "off"):
        run = prepared(snapshot, base, tmp_path, precision="bf16", bf16_copy=wanted, method=method)
        learner, losses[wanted] = learn(run, epochs=3)
        assert (learner.working is not None) is (wanted == "on")
    assert losses["on"] == pytest.approx(losses["off"], rel=2e-2)


def test_no_copy_where_passes_are_float32_or_there_is_no_gpu(base: Path) -> None:
    full, half = load_family(str(base)), load_family(str(base), dtype=torch.bfloat16)
    assert [worth_it(wanted, full.denoiser, full.dtype) for wanted in ("on", "auto", "off")] == [False, False, False]
    assert [worth_it(wanted, half.denoiser, half.dtype) for wanted in ("on", "auto", "off")] == [True, False, False]


def test_a_copy_that_isnt_rounded_shares_the_weights(base: Path) -> None:
    family = load_family(str(base))
    working = DenoiserCopy(family.denoiser, {}, dtype=None, compiled=True)
    shared = zip(working.module.parameters(), family.denoiser.parameters(), strict=True)
    assert all(one is other for one, other in shared)
    assert not any(isinstance(layer, channels_last.GroupNorm) for layer in family.denoiser.modules())
    assert any(isinstance(layer, channels_last.GroupNorm) for layer in working.module.modules())


def test_images_that_fill_up_a_batch_count_nothing(base: Path, snapshot: Path, tmp_path: Path) -> None:
    run = prepared(snapshot, base, tmp_path, flip=True)
    images = make_batch(run.family, run.data, 1, range(3))
    full = images.padded(5)
    assert len(full) == 5 and full.weights_B.tolist()[3:] == [0, 0]
    assert torch.equal(full.noisy_BCHW[:3], images.noisy_BCHW)
    assert images.padded(3) is images


def test_compiling_pays_on_a_gpu_and_a_long_run() -> None:
    pays = torch_compile.TRAINING.pays
    assert pays("auto", "cuda", 3600, 160) and not pays("auto", "cuda", 60, 160)
    assert not pays("auto", "cpu", 1e9, 160)
    assert pays("on", "cpu", 1, 160) and not pays("off", "cuda", 1e9, 160)


def test_what_an_earlier_run_has_compiled_costs_little(
    base: Path, snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a mark beside what torch keeps: of the same passes, there, and only once they are compiled."""
    worth, cache = torch_compile.TRAINING, tmp_path / "cache"
    monkeypatch.delenv(torch_compile.FOLDER_VARIABLE, raising=False)
    one, other = (prepared(snapshot, base, tmp_path, batch_size=size) for size in (2, 3))
    names = [trained_name(run.family, run.config) for run in (one, other, one)]
    assert names[0] == names[2] != names[1] != drawn_name(one.family)
    assert worth.seconds(cache, names[0]) == worth.seconds(None, names[0]) == worth.new_seconds
    worth.remember(cache, names[0])
    assert [worth.seconds(cache, name) for name in names[:2]] == [worth.cached_seconds, worth.new_seconds]
    monkeypatch.setenv(torch_compile.FOLDER_VARIABLE, str(tmp_path / "elsewhere"))
    assert worth.seconds(cache, names[0]) == worth.new_seconds
    monkeypatch.setenv(torch_compile.FOLDER_VARIABLE, str(base / "model_index.json"))  # Nothing can be written there.
    worth.remember(cache, names[0])
    assert worth.seconds(cache, names[0]) == worth.new_seconds


def test_blocks_dont_lie_within_another(base: Path) -> None:
    family = load_family(str(base))
    found = list(torch_compile.blocks(family.denoiser))
    inside = [id(part) for block in found for part in block.modules()]
    assert len(inside) == len(set(inside))
    outside = [layer for layer in family.denoiser.modules() if id(layer) not in set(inside)]
    assert not any(isinstance(layer, torch.nn.GroupNorm) for layer in outside)


def test_the_state_of_channels_last_weights_is_saved_and_restored(
    base: Path, snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file, save_file

    monkeypatch.setattr(torch_compile.Blocks, "__init__", lambda self, *_, **__: setattr(self, "modules", []))
    run = prepared(snapshot, base, tmp_path)
    learner = Learner(run.method, run.config, run.plan, compiled=True)
    (images,) = make_batch(run.family, run.data, 1, range(5)).split(5)
    learner.learn(run.data, images)
    save_file(learner.tensors(), tmp_path / "state.safetensors")
    after = float(learner.learn(run.data, images))
    learner.restore(load_file(tmp_path / "state.safetensors"), 1)
    assert float(learner.learn(run.data, images)) == pytest.approx(after, rel=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*.grad attribute of a Tensor:UserWarning")  # Of torch's own tracing.
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a:UserWarning")
@pytest.mark.parametrize("buckets", [False, True])
def test_compiled_blocks_learn_what_others_learn(
    base: Path, snapshot: Path, shaped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, buckets: bool
) -> None:
    """Of an epoch whose last step is short; with buckets pictures of several sizes share what is compiled."""
    monkeypatch.setattr(torch_compile, "BACKEND", "aot_eager")
    told: list[tuple[str, int, int | None]] = []
    losses = {}
    for wanted in (True, False):
        run = prepared(shaped if buckets else snapshot, base, tmp_path, buckets=buckets, batch_size=5)
        learner = Learner(run.method, run.config, run.plan, compiled=wanted)
        steps = [drawn for epoch in (1, 2) for drawn in epoch_steps(run.family, run.data, run.plan, epoch)]
        learner.compile(run.data, steps[0], lambda stage, done, total, detail="": told.append((stage, done, total)))
        assert all(weight.grad is None for weight in learner.parameters.values())
        torch._dynamo.utils.counters.clear()
        losses[wanted] = [float(learner.learn(run.data, drawn)) for drawn in steps]
        if wanted and not buckets:
            assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 0  # All was compiled beforehand.
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)
    counts = [done for _, done, _ in told]
    assert {stage for stage, _, _ in told} == {"compiling"} and counts == sorted(counts)
    assert counts[-1] == told[-1][2]


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch 2.11, as it compiles.
@pytest.mark.parametrize("buckets", [False, True])
def test_a_gpu_learns_the_same_compiled_and_recorded(
    base: Path, snapshot: Path, shaped: Path, tmp_path: Path, buckets: bool
) -> None:
    losses = {}
    for wanted in (True, False):
        run = prepared(
            shaped if buckets else snapshot, base, tmp_path, device="cuda", precision="bf16", buckets=buckets, ema=True
        )
        learner = Learner(run.method, run.config, run.plan, compiled=wanted)
        learner.compile(run.data, next(epoch_steps(run.family, run.data, run.plan, 1)), silent)
        losses[wanted] = [
            float(learner.learn(run.data, drawn)) / len(drawn)
            for epoch in range(1, 5)
            for drawn in epoch_steps(run.family, run.data, run.plan, epoch)
        ]
    assert losses[True] == pytest.approx(losses[False], rel=3e-2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Of torch's tracing and of the pipeline that is measured against.
def test_every_variant_of_the_benchmark_runs(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """At toy size, on the CPU."""
    from tests.bench import training
    from tests.bench.card import TOY

    monkeypatch.setattr(torch_compile, "BACKEND", "eager")
    found = training.Measured(TOY, torch.device("cpu"), only="").rows()
    told = capfd.readouterr().err
    assert "failed" not in told and "Traceback" not in told
    names = {row.name for row in found}
    for part in (
        "SD 1.5 full, 512 px, ours",
        "SD 1.5 LoRA, 512 px, ours",
        "SDXL full, 1024 px, ours",
        "loss curve, ours",
    ):
        assert part in names
    assert {"VAE encode, cache from files", "mini, batch 8, whole step recorded"} <= names
    assert {f"sampling a grid, ours{kind}" for kind in ("", ", the next checkpoint", ", compiled")} <= names
    curve = next(row for row in found if row.name == "loss curve, ours")
    assert curve.ratio == pytest.approx(1, abs=0.02)
