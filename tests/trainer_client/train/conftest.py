"""Fixtures: a run's folder, and a whole run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from schemas.progress import Progress
from schemas.run import RunReport
from trainer_client.config import TrainConfig
from trainer_client.train import train
from trainer_client.train.checkpoint import checkpoint_name

UNET = "unet/diffusion_pytorch_model.safetensors"
PROMPTS = """[unrelated] a red car
[unrelated] a house
[generic] an image
red shape 0 by the river, train
"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "prompts.txt").write_text(PROMPTS, encoding="utf-8")
    return folder


def config(folder: Path, snapshot: Path, base: Path, name: str, **values: Any) -> TrainConfig:
    settings: dict[str, Any] = {
        "captions": "human",
        "epochs": 3,
        "save_epochs": (1,),
        "prompts": folder / "prompts.txt",
        "seeds": (1, 2),
        "sample_steps": 2,
        "batch_size": 5,
        "learning_rate": 1e-3,
        "eval_timesteps": 2,
        "save_dtype": "fp32",
        "price_per_hour": 2.0,
        "tracker": "none",
        "out": folder / name,
        "cache": folder / "cache",
    }
    return TrainConfig.of(snapshot=snapshot, base=str(base), **(settings | values))


@pytest.fixture(scope="session")
def whole(folder: Path, snapshot: Path, base: Path) -> Path:
    """A run that nothing disturbed."""
    train(config(folder, snapshot, base, "whole"))
    return folder / "whole"


def weights(run: Path, epoch: int = 3) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = load_file(run / checkpoint_name(epoch) / UNET)
    return tensors


def assert_same_run(one: Path, other: Path, epoch: int = 3) -> None:
    """Weights bit for bit; losses, measures and pictures too."""
    theirs = weights(other, epoch)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in weights(one, epoch).items())
    reports = [RunReport.read(run / "run.json") for run in (one, other)]
    losses = [[(epoch.epoch, epoch.steps, epoch.train_loss) for epoch in report.epochs] for report in reports]
    assert losses[0] == losses[1]
    assert [c.epoch for c in reports[0].checkpoints] == [c.epoch for c in reports[1].checkpoints]
    assert [c.evaluation for c in reports[0].checkpoints] == [c.evaluation for c in reports[1].checkpoints]
    grids = [[c.grid.file.sha256 for c in report.checkpoints if c.grid] for report in reports]
    assert grids[0] == grids[1]


class Stop(Exception):
    pass


def stop_when(stage: str, mark: str, error: type[BaseException] = Stop) -> Progress:
    """A listener that ends the run when `stage` says `mark`."""

    def listen(said: str, done: int, total: int | None, detail: str = "") -> None:
        if said == stage and mark in f"{done}/{total} {detail}":
            raise error

    return listen
