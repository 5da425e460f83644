"""What a run leaves is drawn with by diffusers alone, and its pictures are those that the run's own sampler draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainer_client.methods.runs import run
from trainer_client.load_model import load
from trainer_client.sample import sample_tiles, seed_noise
from trainer_client.train.checkpoint import checkpoint_name

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Of its solver.
STEPS = 4


def drawn_by_diffusers(folder: Path, prompt: str, **settings: Any) -> torch.Tensor:
    from diffusers import DiffusionPipeline, DPMSolverMultistepScheduler

    pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    solver = {"algorithm_type": "dpmsolver++", "solver_order": 2}
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config, **solver)
    noise_1CHW = seed_noise(1, load(str(folder)).latent_shape)[None]
    asked = {
        "latents": noise_1CHW,
        "num_inference_steps": STEPS,
        "guidance_scale": 7.5,
        "output_type": "np",
        **settings,
    }
    return torch.from_numpy(np.asarray(pipeline(prompt, **asked).images[0]) * 255).round().int()


def drawn_by_us(folder: Path, prompt: str) -> torch.Tensor:
    return sample_tiles(load(str(folder)), [prompt], [1], steps=STEPS)[0, 0].int()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("on", "values", "settings"),
    [
        ("base", {"ema": True, "ema_decay": 0.5}, {}),
        ("v_base", {"train_text_encoder": True, "min_snr_gamma": 5.0}, {}),
        ("v_base", {"zero_terminal_snr": True}, {"guidance_rescale": 0.7}),
        ("xl_base", {"train_text_encoder": True}, {}),
        ("base", {"method": "dreambooth", "class_images": 2, "captions": None}, {}),
    ],
    ids=["average", "v", "zero-snr", "xl", "dreambooth"],
)
def test_a_checkpoint_draws_the_same(
    on: str, values: dict[str, Any], settings: dict[str, Any], snapshot: Path, tmp_path: Path, request: Any
) -> None:
    base = request.getfixturevalue(on)
    run(snapshot, base, tmp_path / "run", **{"learning_rate": 1e-3, "epochs": 1, **values})
    folder = tmp_path / "run" / checkpoint_name(1)
    ours = drawn_by_us(folder, "a red fox")
    assert (ours - drawn_by_diffusers(folder, "a red fox", **settings)).abs().max() <= 1
    assert (ours != drawn_by_us(base, "a red fox")).any()


@pytest.mark.slow
@pytest.mark.parametrize("on", ["base", "xl_base"])
def test_a_model_that_went_on_from_a_learnt_word_knows_it(
    on: str, snapshot: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    word: dict[str, Any] = {"method": "textual-inversion", "captions": None, "token": "<frog>", "vectors": 2}
    run(snapshot, request.getfixturevalue(on), tmp_path / "word", epochs=1, **word)
    run(snapshot, tmp_path / "word", tmp_path / "whole", epochs=1, train_text_encoder=True)
    folder = tmp_path / "whole" / checkpoint_name(1)
    ours = drawn_by_us(folder, "a red <frog>")
    assert (ours - drawn_by_diffusers(folder, "a red <frog>")).abs().max() <= 1
    assert (ours != drawn_by_us(folder, "a red fox")).any()
