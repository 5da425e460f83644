"""The mini model's shapes, in diffusers' and transformers' own classes, and how a pipeline folder is written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

if TYPE_CHECKING:
    from pathlib import Path

IMAGE_PX = 64
LATENT_PX = 16
TEXT_WIDTH = 192
SCHEDULE = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@dataclass
class Models:
    """The three networks of one pipeline."""

    text_encoder: Any
    vae: Any
    unet: Any

    def to(self, device: str) -> Models:
        """Move all three to a device."""
        return Models(self.text_encoder.to(device), self.vae.to(device), self.unet.to(device))


def build_vae(latent_channels: int) -> Any:
    """A 3.2M autoencoder, 64 px to 16x16 latents."""
    return AutoencoderKL(
        sample_size=IMAGE_PX,
        latent_channels=latent_channels,
        block_out_channels=(48, 96, 128),
        layers_per_block=1,
        norm_num_groups=16,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        scaling_factor=1.0,
        force_upcast=False,
    )


def build_unet(latent_channels: int, channels: tuple[int, ...] = (96, 160, 192)) -> Any:
    """A 13.4M UNet; no attention at 16x16, where it would cost half the time on a CPU."""
    return UNet2DConditionModel(
        sample_size=LATENT_PX,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,  # diffusers' old name for the number of heads
        norm_num_groups=16,
    )


def build_text_encoder(tokenizer: Any) -> Any:
    """A 2.7M CLIP text model, 4 layers of 192, that knows its tokenizer's special tokens."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def build(latent_channels: int, tokenizer: Any, seed: int = 0) -> Models:
    """Three networks with fresh weights, a pure function of the seed."""
    torch.manual_seed(seed)
    return Models(build_text_encoder(tokenizer), build_vae(latent_channels), build_unet(latent_channels))


def scheduler() -> Any:
    """Stable Diffusion's noise schedule, sampled from its very last step."""
    return DDIMScheduler(
        **SCHEDULE,
        prediction_type="epsilon",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="trailing",
    )


def pipeline(models: Models, tokenizer: Any) -> Any:
    """A StableDiffusionPipeline around the networks; no safety checker: there is nothing to check emoji with."""
    return StableDiffusionPipeline(
        vae=models.vae,
        text_encoder=models.text_encoder,
        tokenizer=tokenizer,
        unet=models.unet,
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def save(models: Models, tokenizer_folder: Path, folder: Path) -> None:
    """Write the pipeline folder in fp16; the networks are left on the CPU, in fp32 but rounded to fp16."""
    tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder)
    half = Models(models.text_encoder.half().cpu(), models.vae.half().cpu(), models.unet.half().cpu())
    pipeline(half, tokenizer).save_pretrained(folder, safe_serialization=True)
    for name in ("vocab.json", "merges.txt"):  # for loaders that don't read tokenizer.json
        (folder / "tokenizer" / name).write_bytes((tokenizer_folder / name).read_bytes())
    for network in (half.text_encoder, half.vae, half.unet):
        network.float()
    path = folder / "text_encoder" / "config.json"
    config = json.loads(path.read_text("utf-8"))
    # transformers loads in the type that the config names: in fp16 it would not match the UNet, loaded in fp32.
    config["dtype"] = "float32"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
