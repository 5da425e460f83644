"""SDXL in miniature: what it tells its denoiser is what diffusers' pipeline tells it, and every method trains it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from schemas.errors import BadOption
from tests.trainer_client.methods.runs import pictures, prepared, run, tensors
from trainer_client.data.images import crop_sizes
from trainer_client.data.snapshot import Row
from trainer_client.models import Family, base_digest, load_family
from trainer_client.sample import draw_tiles, seed_noise
from trainer_client.train.checkpoint import checkpoint_name


@pytest.fixture(autouse=True)
def bases_loaded_once() -> None:
    """Here each is loaded anew: this proves loading."""


@pytest.fixture(scope="module")
def family(xl_base: Path) -> Family:
    return load_family(str(xl_base))


def pipeline_of(folder: Path) -> Any:
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionXLPipeline

    pipeline = StableDiffusionXLPipeline.from_pretrained(folder)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def drawn_by(pipeline: Any, steps: int = 3) -> torch.Tensor:
    noise = seed_noise(1, (4, 8, 8))[None]
    sizes: dict[str, Any] = {"height": 16, "width": 16, "original_size": (16, 16), "target_size": (16, 16)}
    drawn = pipeline(
        "a red fox", latents=noise, num_inference_steps=steps, guidance_scale=7.5, output_type="np", **sizes
    ).images
    return torch.from_numpy(drawn[0]) * 255


def test_captions_are_encoded_as_the_pipeline_does(family: Family, xl_base: Path) -> None:
    pipeline = pipeline_of(xl_base)
    with torch.no_grad():
        text_BTD, _, pooled_BP, _ = pipeline.encode_prompt("a red fox", do_classifier_free_guidance=False)
        ours_BTD = family.encode_text(family.tokenise(["a red fox", ""]))
    assert family.tokenise(["a red fox"]).shape == (1, 2 * 77)
    assert ours_BTD.shape == (2, 78, 40)
    torch.testing.assert_close(ours_BTD[:1, :-1], text_BTD)
    torch.testing.assert_close(ours_BTD[:1, -1, :20], pooled_BP)
    assert not ours_BTD[0, -1, 20:].any()
    assert not ours_BTD[1].any()  # The base was trained with zeros for no words.


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_pictures_are_the_pipelines(family: Family, xl_base: Path) -> None:
    ours = draw_tiles(family, ["a red fox"], [1], steps=3)[0, 0].float()
    assert (drawn_by(pipeline_of(xl_base)) - ours).abs().max() < 2


def test_sizes_reach_the_denoiser(family: Family) -> None:
    noisy, text = torch.zeros(2, 4, 8, 8), family.encode_text(family.tokenise(["a fox"])).expand(2, 78, 40)
    timesteps = torch.tensor([10, 10])
    sizes = torch.tensor([[16, 16, 0, 0, 16, 16], [512, 300, 40, 0, 16, 16]])
    denoise = partial(family.predict, family.denoiser)
    told = denoise(noisy, timesteps, text, sizes)
    assert torch.equal(told[0], denoise(noisy, timesteps, text)[0])  # Its own size, uncropped, unless told.
    assert not torch.equal(told[0], told[1])


def test_crop_sizes() -> None:
    def sizes(width: int, height: int, size: tuple[int, int] = (64, 64)) -> tuple[int, ...]:
        return crop_sizes(Row(Path(), "", {}, width, height), size)

    assert sizes(64, 64) == (64, 64, 0, 0, 64, 64)
    assert sizes(256, 128) == (128, 256, 0, 32, 64, 64)
    assert sizes(100, 200) == (200, 100, 32, 0, 64, 64)
    assert sizes(33, 32) == (32, 33, 0, 1, 64, 64)
    assert sizes(200, 100, (96, 32)) == (100, 200, 8, 0, 32, 96)


@pytest.mark.slow
def test_training_is_told_the_pictures_sizes(snapshot: Path, xl_base: Path, tmp_path: Path) -> None:
    from trainer_client.data.batches import make_batch

    found = prepared(snapshot, xl_base, tmp_path / "run", method="full")
    drawn = make_batch(found.family, found.data, 1, range(12))
    assert drawn.sizes_B6.tolist() == [[24, 24, 0, 0, 16, 16]] * 12


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_full_finetuning_and_its_checkpoint(snapshot: Path, xl_base: Path, tmp_path: Path) -> None:
    report = run(snapshot, xl_base, tmp_path / "full", epochs=1, train_text_encoder=True, learning_rate=1e-3)
    assert report.base.family == "stable-diffusion-xl"
    folders = [tmp_path / "full" / checkpoint_name(epoch) for epoch in (0, 1)]
    before, after = map(tensors, folders)
    changed = {name.split("/")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"unet", "text_encoder", "text_encoder_2"}
    assert (drawn_by(pipeline_of(folders[1])) - pictures(folders[1])[0, 0]).abs().max() < 2
    assert load_family(str(folders[1])).digest == base_digest(str(folders[1]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_lora_in_both_layouts(snapshot: Path, xl_base: Path, tmp_path: Path) -> None:
    run(snapshot, xl_base, tmp_path / "lora", method="lora", rank=2, train_text_encoder=True, epochs=1)
    folder = tmp_path / "lora" / checkpoint_name(1)
    names = {name.split(":")[1] for name in tensors(folder) if name.startswith("lora-001")}
    assert "lora_unet_input_blocks_3_1_transformer_blocks_1_attn2_to_k.lora_down.weight" in names
    assert "lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha" in names
    ours = pictures(folder)[0, 0]
    assert (ours != pictures(xl_base)[0, 0]).any()
    for file in ("pytorch_lora_weights.safetensors", "lora-001.safetensors"):
        pipeline = pipeline_of(xl_base)
        pipeline.load_lora_weights(folder, weight_name=file)
        assert (drawn_by(pipeline) - ours).abs().max() < 2


def test_other_conditions_are_refused(xl_base: Path, tmp_path: Path) -> None:
    import json
    import shutil

    copy = shutil.copytree(xl_base, tmp_path / "copy")
    config = copy / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"addition_time_embed_dim": 4}))
    with pytest.raises(BadOption, match="refiner"):
        load_family(str(copy))
