"""The mini Stable Diffusion loads as any pipeline does, is small, draws, and listens to captions."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "mini" / "sd"
OPENMOJI = ROOT / "examples" / "openmoji"
PICTURES = ("fox", "cat face", "tulip", "banana", "frog", "owl", "strawberry", "sunflower")


class Collector(logging.Handler):
    """Keeps what libraries complain about."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, list[str]]:
    """The pipeline, loaded with no option, and the warnings logged meanwhile."""
    import transformers
    from diffusers import StableDiffusionPipeline

    # Imported now: on a machine without torchvision the import itself logs a remark about image processors.
    assert transformers.CLIPImageProcessor is not None
    collector = Collector()
    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    for logger in loggers:
        logger.addHandler(collector)
    try:
        pipeline = StableDiffusionPipeline.from_pretrained(FOLDER)
    finally:
        for logger in loggers:
            logger.removeHandler(collector)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, collector.messages


@pytest.fixture(scope="module")
def pipeline(loaded: tuple[Any, list[str]]) -> Any:
    return loaded[0]


def test_loads_with_no_option_and_no_warning(loaded: tuple[Any, list[str]]) -> None:
    pipeline, messages = loaded
    assert messages == []
    assert {m.dtype for m in (pipeline.unet, pipeline.vae, pipeline.text_encoder)} == {torch.float32}
    assert pipeline.safety_checker is None and pipeline.feature_extractor is None


def test_folder_is_at_most_40_mb_of_fp16_safetensors() -> None:
    from safetensors import safe_open

    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 40_000_000
    weights = [path for path in files if path.suffix == ".safetensors"]
    assert len(weights) == 3
    for path in weights:
        with safe_open(path, "pt") as tensors:
            assert {tensors.get_slice(key).get_dtype() for key in tensors.keys()} == {"F16"}  # noqa: SIM118
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt", ".md", ".webp"}


def test_sizes_fit_together(pipeline: Any) -> None:
    channels = pipeline.vae.config.latent_channels
    assert pipeline.unet.config.in_channels == pipeline.unet.config.out_channels == channels
    assert pipeline.unet.config.sample_size * pipeline.vae_scale_factor == 64
    assert pipeline.unet.config.cross_attention_dim == pipeline.text_encoder.config.hidden_size
    assert len(pipeline.tokenizer) == pipeline.text_encoder.config.vocab_size
    assert pipeline.tokenizer.model_max_length == pipeline.text_encoder.config.max_position_embeddings == 77


def test_a_generation_runs_and_follows_its_prompt(pipeline: Any) -> None:
    prompts = ["a drawing of a red heart", "a drawing of a green heart"]
    generators = [torch.Generator().manual_seed(1) for _ in prompts]
    images = pipeline(prompts, num_inference_steps=8, guidance_scale=4.0, generator=generators).images
    assert [image.size for image in images] == [(64, 64), (64, 64)]
    centres = [image.crop((24, 24, 40, 40)).resize((1, 1)).getpixel((0, 0)) for image in images]
    assert centres[0][0] > centres[0][1] and centres[1][1] > centres[1][0]


@pytest.mark.parametrize(
    "text",
    [
        "openmoji drawing of fox, animal-mammal",
        "an orange fox face seen from the front with white cheeks",
        "zürich 雪 naïve xylophonist",
    ],
)
def test_tokenizer_spells_any_text(pipeline: Any, text: str) -> None:
    numbers = pipeline.tokenizer(text, padding="max_length").input_ids
    assert len(numbers) == 77 and numbers[0] == pipeline.tokenizer.bos_token_id
    assert pipeline.tokenizer.eos_token_id == pipeline.tokenizer.pad_token_id == numbers[-1]
    decoded = pipeline.tokenizer.decode(numbers, skip_special_tokens=True)
    assert decoded.replace(" ", "") == text.replace(" ", "")


def test_older_loaders_find_the_same_vocabulary(pipeline: Any) -> None:
    folder = FOLDER / "tokenizer"
    assert json.loads((folder / "vocab.json").read_text("utf-8")) == pipeline.tokenizer.get_vocab()
    merges = (folder / "merges.txt").read_text("utf-8").splitlines()[1:]
    stored = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["merges"]
    assert merges == [" ".join(pair) for pair in stored]


def test_pooled_output_is_taken_at_the_first_end_token(pipeline: Any) -> None:
    ids = pipeline.tokenizer(["a fox"], padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        output = pipeline.text_encoder(ids)
    end = int((ids[0] == pipeline.tokenizer.eos_token_id).int().argmax())
    assert end == 3
    assert torch.allclose(output.pooler_output[0], output.last_hidden_state[0, end])


def openmoji_pixels() -> tuple[Any, list[str]]:
    """Eight committed OpenMoji pictures at 64 px on white, (8,3,64,64) in -1..1, and their template captions."""
    import numpy as np
    from PIL import Image

    with (OPENMOJI / "metadata.csv").open(encoding="utf-8", newline="") as table:
        rows = {row["annotation"]: row for row in csv.DictReader(table)}
    arrays = []
    for name in PICTURES:
        image = Image.open(OPENMOJI / "images" / rows[name]["file_name"]).convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image)
        arrays.append(np.asarray(white.convert("RGB").resize((64, 64), Image.Resampling.LANCZOS)))
    pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return pixels, [f"drawing of {name}, {rows[name]['subgroup']}" for name in PICTURES]


@torch.no_grad()
def denoising_loss(pipeline: Any, latents: Any, captions: list[str]) -> float:
    """Mean squared error of the predicted noise at five fixed timesteps, with fixed noise."""
    ids = pipeline.tokenizer(captions, padding="max_length", return_tensors="pt").input_ids
    hidden = pipeline.text_encoder(ids).last_hidden_state
    generator = torch.Generator().manual_seed(0)
    losses = []
    for step in (300, 450, 600, 750, 900):
        noise = torch.randn(latents.shape, generator=generator)
        timesteps = torch.full((len(latents),), step)
        noisy = pipeline.scheduler.add_noise(latents, noise, timesteps)
        losses.append((pipeline.unet(noisy, timesteps, hidden).sample - noise).square().mean())
    return float(torch.stack(losses).mean())


@pytest.mark.slow
def test_true_captions_explain_pictures_better_than_shuffled_ones(pipeline: Any) -> None:
    pixels, captions = openmoji_pixels()
    with torch.no_grad():
        latents = pipeline.vae.encode(pixels).latent_dist.mean * pipeline.vae.config.scaling_factor
    true = denoising_loss(pipeline, latents, captions)
    shuffled = denoising_loss(pipeline, latents, [*captions[3:], *captions[:3]])
    assert true < 0.95 * shuffled


def test_autoencoder_keeps_a_style_it_never_saw(pipeline: Any) -> None:
    pixels, _ = openmoji_pixels()
    with torch.no_grad():
        latents = pipeline.vae.encode(pixels).latent_dist.mean
        output = pipeline.vae.decode(latents).sample.clamp(-1, 1)
    error = ((output - pixels) / 2).square().mean()
    assert float(-10 * error.log10()) > 26
    assert 0.5 < float(latents.std()) < 2
