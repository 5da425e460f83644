"""One process against two: the same images, noise and arithmetic, whoever does them; really started, over gloo."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from schemas.errors import BadOption
from schemas.run import RunReport
from tests.bench import two_gpus
from trainer_client import cli
from trainer_client.distributed import fsdp
from trainer_client.train.checkpoint import checkpoint_name
from trainer_client.train.resume_state import RunBusy, load_state, only_trainer

pytestmark = pytest.mark.slow
UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"
PATIENCE_S = 300


def command(
    processes: int, folder: Path, name: str, snapshot: Path, base: Path, *options: str, held: Path | None = None
) -> list[str]:
    """With `held`, a run that stands still after its first epoch, when it has made that file."""
    (folder / "prompts.txt").write_text("a red fox\n[unrelated] a house\n", encoding="utf-8")
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    settings = {
        "--base": base,
        "--captions": "human",
        "--epochs": 3,
        "--save-epochs": "1,2",
        "--batch-size": 11,  # 12 images: the last step has one, and the second process none.
        "--learning-rate": 1e-3,
        "--prompts": folder / "prompts.txt",
        "--seeds": "1",
        "--sample-steps": 1,
        "--eval-timesteps": 1,
        "--save-dtype": "fp32",
        "--device": "cpu",
        "--tracker": "none",
        "--cache": folder / "cache",
        "--out": folder / name,
    }
    given = [str(part) for pair in settings.items() for part in pair]
    program = ["tests.trainer_client.holding", "1", "0", str(held)] if held else ["trainer_client"]
    return [*start, *program, "train", str(snapshot), *given, *options]


def surroundings(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"} | dict(environment or {})


def run(processes: int, folder: Path, name: str, snapshot: Path, base: Path, *options: str, **more: Any) -> str:
    """The run's own words. One process by itself is this one: another would load torch first."""
    asked = command(processes, folder, name, snapshot, base, *options)
    if processes == 1 and not more:
        alone = CliRunner().invoke(cli.main, asked[asked.index("train") :])
        assert alone.exit_code == 0, alone.output[-3000:]
        return alone.stdout
    done = subprocess.run(
        asked, env=surroundings(**more), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def assert_alike(folder: Path, one: str, other: str, component: str = UNET) -> None:
    reports = [RunReport.read(folder / name / "run.json") for name in (one, other)]
    losses = [[epoch.train_loss for epoch in report.epochs] for report in reports]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert reports[0].config_digest == reports[1].config_digest
    assert [point.epoch for point in reports[0].checkpoints] == [point.epoch for point in reports[1].checkpoints]
    weights = [load_file(folder / name / checkpoint_name(3) / component) for name in (one, other)]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=0, atol=1e-4)


def test_two_processes_learn_what_one_does(tmp_path: Path, snapshot: Path, base: Path) -> None:
    run(1, tmp_path, "one", snapshot, base)
    spoken = run(2, tmp_path, "two", snapshot, base)
    assert_alike(tmp_path, "one", "two")
    assert spoken.count("Report: ") == 1  # One of them speaks.
    again = run(2, tmp_path, "two", snapshot, base)
    assert "is complete already" in again


def test_with_a_text_encoder_and_accumulation(tmp_path: Path, snapshot: Path, base: Path) -> None:
    options = ("--train-text-encoder", "--batch-size", "2", "--accumulation", "3")
    run(1, tmp_path, "one", snapshot, base, *options)
    run(2, tmp_path, "two", snapshot, base, *options)
    assert_alike(tmp_path, "one", "two", TEXT)


@pytest.mark.parametrize("method", [("full", "--train-text-encoder"), ("lora",)])
def test_two_processes_through_a_copy(tmp_path: Path, snapshot: Path, base: Path, method: tuple[str, ...]) -> None:
    """Whose gradients are added up in float32; what the copy rounds differs from batch to batch."""
    options = ("--precision", "bf16", "--bf16-copy", "on", "--method", *method, "--batch-size", "3", "--ema")
    for processes, name in ((1, "one"), (2, "two")):
        run(processes, tmp_path, name, snapshot, base, *options)
    reports = [RunReport.read(tmp_path / name / "run.json") for name in ("one", "two")]
    losses = [[epoch.train_loss for epoch in report.epochs] for report in reports]
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)


def test_with_buckets_and_layers_that_nothing_reads(tmp_path: Path, shaped: Path, base: Path) -> None:
    options = ("--buckets", "--clip-skip", "2", "--train-text-encoder", "--shuffle-tags", "--batch-size", "3")
    run(1, tmp_path, "one", shaped, base, *options)
    run(2, tmp_path, "two", shaped, base, *options)
    assert_alike(tmp_path, "one", "two", TEXT)


def test_a_killed_run_goes_on_with_another_number_of_processes(tmp_path: Path, snapshot: Path, base: Path) -> None:
    run(1, tmp_path, "one", snapshot, base)
    kill_after_an_epoch(tmp_path / "cut", 2, snapshot, base, "--state-every-seconds", "0")
    run(1, tmp_path, "cut", snapshot, base)
    assert_alike(tmp_path, "one", "cut")


FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
}


def test_fsdp_learns_what_one_process_does(tmp_path: Path, shaped: Path, base: Path) -> None:
    options = ("--buckets", "--clip-skip", "2", "--train-text-encoder", "--batch-size", "3", "--accumulation", "2")
    options += ("--clip-norm", "0.5", "--ema")
    run(1, tmp_path, "one", shaped, base, *options)
    run(2, tmp_path, "two", shaped, base, *options, environment=FSDP)
    assert_alike(tmp_path, "one", "two", TEXT)
    assert_alike(tmp_path, "one", "two", UNET)


def test_fsdp_with_lora_and_one_layout_of_layers_after_the_other(tmp_path: Path, snapshot: Path, base: Path) -> None:
    options = ("--method", "lora", "--rank", "4", "--train-text-encoder")
    run(1, tmp_path, "one", snapshot, base, *options)
    by_size = {"FSDP_AUTO_WRAP_POLICY": "SIZE_BASED_WRAP", "FSDP_MIN_NUM_PARAMS": "2000"}
    run(2, tmp_path, "two", snapshot, base, *options, environment=FSDP | by_size)
    assert_alike(tmp_path, "one", "two", "pytorch_lora_weights.safetensors")


def test_fsdp_with_a_word_of_one_vector(tmp_path: Path, snapshot: Path, base: Path) -> None:
    prompt = ("--instance-prompt", "<fox>, {caption}")
    options = ("--method", "textual-inversion", "--token", "<fox>", *prompt)  # Less than there are processes.
    run(1, tmp_path, "one", snapshot, base, *options)
    run(2, tmp_path, "two", snapshot, base, *options, environment=FSDP)
    assert_alike(tmp_path, "one", "two", "learned_embeds.safetensors")


def test_a_killed_fsdp_run_goes_on_alone_and_the_other_way_round(tmp_path: Path, snapshot: Path, base: Path) -> None:
    options = ("--ema", "--state-every-seconds", "0")
    run(1, tmp_path, "one", snapshot, base, *options)
    for name, before, after in (("apart", 2, 1), ("together", 1, 2)):
        kill_after_an_epoch(tmp_path / name, before, snapshot, base, *options, environment=FSDP)
        run(after, tmp_path, name, snapshot, base, *options, environment=FSDP)
        assert_alike(tmp_path, "one", name)


def kill_all(started: subprocess.Popen[bytes], folder: Path) -> None:
    """The launcher and what it started, which are sessions of their own; until the run's folder is free."""
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text(encoding="ascii").split()
    for pid in (started.pid, *map(int, children)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    started.wait()
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with suppress(RunBusy), only_trainer(folder):
            return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def kill_after_an_epoch(
    folder: Path,
    processes: int,
    snapshot: Path,
    base: Path,
    *options: str,
    environment: Mapping[str, str] | None = None,
) -> None:
    held = folder.with_suffix(".held")
    started = subprocess.Popen(
        command(processes, folder.parent, folder.name, snapshot, base, *options, held=held),
        env=surroundings(environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and started.poll() is None and not held.exists():
        time.sleep(0.1)
    kill_all(started, folder)
    assert held.exists()
    state = load_state(folder, "cpu")
    assert state is not None and state[0].epochs_done == 1
    assert RunReport.read(folder / "run.json").status != "complete"


def test_what_fsdp_is_not_done_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSDP_VERSION", "2")
    monkeypatch.setenv("FSDP_OFFLOAD_PARAMS", "true")
    with pytest.raises(BadOption, match="fsdp_offload_params: offloading is not supported"):
        fsdp.settings()
    monkeypatch.setenv("FSDP_OFFLOAD_PARAMS", "false")
    monkeypatch.setenv("FSDP_VERSION", "1")
    monkeypatch.setenv("FSDP_SHARDING_STRATEGY", "HYBRID_SHARD")
    with pytest.raises(BadOption, match=r"HYBRID_SHARD: not supported\. Use FULL_SHARD"):
        fsdp.settings()


def test_the_benchmark_of_two_gpus_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_gpus, "TOY", True)
    monkeypatch.setenv("AMATL_BENCH_TOY", "1")
    rows = {row.name: row for row in two_gpus.bench()}
    assert len(rows) == 4
    apart = [float(figure) for figure in re.findall(r"[0-9.]+e-[0-9]+", rows["losses, float32"].detail)]
    assert len(apart) == 3
    assert max(apart) < 1e-5


def test_auto_batch_is_refused_with_several(tmp_path: Path, snapshot: Path, base: Path) -> None:
    done = subprocess.run(
        command(2, tmp_path, "two", snapshot, base, "--auto-batch"),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode != 0
    assert "--auto-batch works with one process" in done.stderr
