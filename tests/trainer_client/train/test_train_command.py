"""`trainer train` as a process: exit codes, JSON, signals, kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from schemas.run import RunReport
from trainer_client.cli import main
from trainer_client.train.checkpoint import checkpoint_name

UNET = "unet/diffusion_pytorch_model.safetensors"


def arguments(snapshot: Path, base: Path, out: Path, epochs: int = 1) -> list[str]:
    settings = ["--captions", "human", "--base", str(base), "--out", str(out), "--epochs", str(epochs)]
    settings += ["--save-epochs", "1", "--seeds", "1", "--sample-steps", "1", "--eval-timesteps", "1"]
    return ["train", str(snapshot), *settings, "--batch-size", "1", "--save-dtype", "fp32", "--learning-rate", "1e-3"]


def test_it_prints_a_line_a_checkpoint_and_json(snapshot: Path, base: Path, cache: Path, tmp_path: Path) -> None:
    asked = arguments(snapshot, base, tmp_path / "run")
    result = CliRunner().invoke(main, asked)
    assert result.exit_code == 0, result.stderr
    assert "1 epoch on `human`, 12 steps" in result.stdout
    assert "training: 12/12 epoch 1/1, loss" in result.stderr
    again = CliRunner().invoke(main, [*asked, "--json"])
    found = json.loads(again.stdout)
    assert (again.exit_code, found["was_complete"], found["steps"]) == (0, True, 12)
    assert [line["epoch"] for line in found["checkpoints"]] == [0, 1]
    assert again.stderr == ""
    assert "complete already" in CliRunner().invoke(main, asked).stdout


def test_what_is_wrong_is_one_line(snapshot: Path, base: Path, cache: Path, tmp_path: Path) -> None:
    asked = arguments(snapshot, base, tmp_path / "run")
    result = CliRunner().invoke(main, [*asked, "--captions", "humann"])
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert "Did you mean `human`?" in result.stderr.splitlines()[-1]
    result = CliRunner().invoke(main, [*asked, "--base", "no/such/base", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stderr)["error"]["type"] == "NotFound"
    assert not (tmp_path / "run").exists()


def start(asked: list[str], cache: Path, held: Path) -> subprocess.Popen[str]:
    """Stands still in the second epoch, while `held` is there."""
    environment = os.environ | {"AMATL_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    holding = ["tests.trainer_client.holding", "1", "4", str(held)]
    command = [sys.executable, "-m", *holding, *asked, "--state-every-seconds", "0"]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], file: Path) -> None:
    deadline = time.monotonic() + 240
    while not file.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_a_process_that_is_killed_goes_on_to_the_same_weights(
    snapshot: Path, base: Path, cache: Path, tmp_path: Path, number: signal.Signals, exit_code: int
) -> None:
    CliRunner().invoke(main, arguments(snapshot, base, tmp_path / "whole", epochs=6), catch_exceptions=False)
    broken, held = tmp_path / "broken", tmp_path / "held"
    asked = arguments(snapshot, base, broken, epochs=6)
    with start(asked, cache, held) as process:
        try:
            wait_for(process, held)
            process.send_signal(number)
            held.unlink()
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == exit_code
    assert "Traceback" not in errors
    report = RunReport.read(broken / "run.json")
    assert report.status == ("running" if number == signal.SIGKILL else "interrupted")
    assert (broken / "state/state.safetensors").is_file()
    result = CliRunner().invoke(main, [*asked, "--json"], catch_exceptions=False)
    assert json.loads(result.stdout)["resumed"] is True
    models = [load_file(run / checkpoint_name(6) / UNET) for run in (tmp_path / "whole", broken)]
    assert all(torch.equal(tensor, models[1][name]) for name, tensor in models[0].items())
    losses = [[e.train_loss for e in RunReport.read(run / "run.json").epochs] for run in (tmp_path / "whole", broken)]
    assert losses[0] == losses[1]
