"""What `accelerate launch` and torchrun ask for and the machine can't do: said in a line, before anything is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from schemas.errors import BadOption
from schemas.run import RunReport
from trainer_client.config import TrainConfig
from trainer_client.distributed.processes import Processes


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The second of two, as a launcher's environment says; nothing is to be joined in these tests."""
    for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def asked(device: str) -> TrainConfig:
    return TrainConfig.of(snapshot=Path("snapshot"), base="base", out=Path("run"), device=device)


@pytest.mark.parametrize(
    ("device", "gpus", "told"),
    [("auto", 1, "1 GPU for"), ("cuda", 1, "1 GPU for"), ("cuda", 0, "0 GPUs for"), ("cuda:1", 0, "0 GPUs for")],
)
def test_more_processes_than_gpus(two_processes: pytest.MonkeyPatch, device: str, gpus: int, told: str) -> None:
    two_processes.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(BadOption, match=f"^--device {device}: {told} the 2 processes started here. Start one per GPU"):
        Processes(asked(device))


def test_fsdp_without_a_gpu(two_processes: pytest.MonkeyPatch) -> None:
    two_processes.setattr(torch.cuda, "device_count", lambda: 0)
    two_processes.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(BadOption, match=r"^FSDP: this machine has no GPU\. Train with DDP, .* or give --device cpu"):
        Processes(asked("auto"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there it's a device as any other")
def test_fsdp_of_version_1_on_the_cpu(two_processes: pytest.MonkeyPatch) -> None:
    """accelerate's plugin raises a RuntimeError where it finds no GPU."""
    two_processes.setenv("ACCELERATE_USE_FSDP", "true")
    two_processes.setenv("FSDP_VERSION", "1")
    two_processes.setenv("FSDP_SYNC_MODULE_STATES", "true")
    with pytest.raises(
        BadOption, match=r"^accelerate's FSDP settings: .*no available devices.*Use fsdp_version 2, or DDP"
    ):
        Processes(asked("cpu"))


LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
    "accelerate": ["accelerate.commands.accelerate_cli", "launch", "--cpu", "--num_processes", "2"],
}


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="of machines without a GPU")
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_both_launchers_train_where_there_is_no_gpu(launcher: str, snapshot: Path, base: Path, tmp_path: Path) -> None:
    """As README says, without --device: what a single process does by itself."""
    command = [sys.executable, "-m", *LAUNCHERS[launcher], "-m", "trainer_client", "train", str(snapshot)]
    settings = {"--captions": "template", "--base": base, "--epochs": 1, "--sample-steps": 1, "--seeds": "1"}
    settings |= {"--eval-timesteps": 1, "--tracker": "none", "--cache": tmp_path / "cache", "--out": tmp_path / "run"}
    command += [str(part) for pair in settings.items() for part in pair]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Report: ") == 1, "of two processes one speaks"
    assert RunReport.read(tmp_path / "run" / "run.json").status == "complete"
