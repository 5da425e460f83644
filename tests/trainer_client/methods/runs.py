"""Short runs on the random mini model, for the tests of every method."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from schemas.progress import Progress, silent
from schemas.run import RunReport
from trainer_client.config import TrainConfig
from trainer_client.data.batches import TrainingSet
from trainer_client.load_model import load
from trainer_client.sample import sample_tiles
from trainer_client.train import train
from trainer_client.train.preparation import Prepared, encode, prepare

PROMPTS = "[unrelated] a red car\nred shape 0 by the river, train\n"


def config(snapshot: Path, base: Path | str, out: Path, **values: Any) -> TrainConfig:
    """Two epochs of three steps, two pictures a checkpoint."""
    prompts = out.parent / "prompts.txt"
    if "prompts" not in values:
        out.parent.mkdir(parents=True, exist_ok=True)
        prompts.write_text(PROMPTS, encoding="utf-8")
    settings: dict[str, Any] = {
        "captions": "human",
        "epochs": 2,
        "save_epochs": (1,),
        "prompts": prompts,
        "seeds": (1,),
        "sample_steps": 2,
        "batch_size": 5,
        "learning_rate": 1e-2,
        "warmup_steps": 0,
        "eval_timesteps": 1,
        "save_dtype": "fp32",
        "cache": out.parent / "cache",
    }
    return TrainConfig.of(snapshot=snapshot, base=str(base), out=out, **(settings | values))


def run(snapshot: Path, base: Path | str, out: Path, progress: Progress = silent, **values: Any) -> RunReport:
    """Trains; gives the report."""
    train(config(snapshot, base, out, **values), progress)
    return RunReport.read(out / "run.json")


def prepared(snapshot: Path, base: Path | str, out: Path, **values: Any) -> Prepared:
    """A run before its first step."""
    found = prepare(config(snapshot, base, out, **values), silent)
    assert isinstance(found, Prepared)
    encode(found, silent)
    return found


def varied(run: Prepared, **options: Any) -> TrainingSet:
    """The run's training images under other options of augmentation and loss."""
    other = run.config.updated(**options)
    return replace(run.data, augmentation=other.augmentation, loss=other.loss)


def pictures(model: Path | str, prompts: tuple[str, ...] = ("a red fox",), steps: int = 3, **settings: Any) -> Any:
    """What a model or checkpoint draws: int (P, 2, H, W, 3)."""
    return sample_tiles(load(str(model), **settings), list(prompts), [1, 2], steps=steps).int()


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a folder's safetensors files."""
    found: dict[str, torch.Tensor] = {}
    for path in sorted(folder.rglob("*.safetensors")):
        found |= {f"{path.relative_to(folder)}:{name}": tensor for name, tensor in load_file(path).items()}
    return found
