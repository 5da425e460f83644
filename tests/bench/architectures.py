"""The real architectures with random weights, made on the device: no hub, nothing downloaded, nothing written but JSON.

Sizes are those of the published configurations of Stable Diffusion 1.5 and SDXL base.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from trainer_client.models.folder import ModelFolder
from trainer_client.models.stable_diffusion import StableDiffusion
from trainer_client.models.stable_diffusion_xl import StableDiffusionXL

if TYPE_CHECKING:
    from torch import nn

CROSS_DOWN, CROSS_UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
SD15 = {
    "sample_size": 64,
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "down_block_types": [CROSS_DOWN, CROSS_DOWN, CROSS_DOWN, "DownBlock2D"],
    "up_block_types": ["UpBlock2D", CROSS_UP, CROSS_UP, CROSS_UP],
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
SDXL = {
    "sample_size": 128,
    "block_out_channels": [320, 640, 1280],
    "layers_per_block": 2,
    "down_block_types": ["DownBlock2D", CROSS_DOWN, CROSS_DOWN],
    "up_block_types": [CROSS_UP, CROSS_UP, "UpBlock2D"],
    "transformer_layers_per_block": [1, 2, 10],
    "cross_attention_dim": 2048,
    "attention_head_dim": [5, 10, 20],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
MINI = {  # As in examples/mini/sd.
    "sample_size": 16,
    "in_channels": 8,
    "out_channels": 8,
    "block_out_channels": [96, 160, 192],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", CROSS_DOWN, CROSS_DOWN],
    "up_block_types": [CROSS_UP, CROSS_UP, "UpBlock2D"],
    "cross_attention_dim": 192,
    "attention_head_dim": 4,
    "norm_num_groups": 16,
}
TOY = SD15 | {
    "sample_size": 8,
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "down_block_types": [CROSS_DOWN, "DownBlock2D"],
    "up_block_types": ["UpBlock2D", CROSS_UP],
    "cross_attention_dim": 16,
    "attention_head_dim": 2,
    "norm_num_groups": 8,
}
VAE = {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 4}
MINI_VAE = VAE | {"block_out_channels": [48, 96, 128], "latent_channels": 8, "norm_num_groups": 16}
TOY_VAE = VAE | {"block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4}
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
CLIP_G = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
MINI_CLIP = {"hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 6}
TOY_CLIP = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES = {  # name -> UNet, autoencoder, text encoders, pixels a side
    "sd15": (SD15, VAE, [CLIP_L], 512),
    "sdxl": (SDXL, VAE | {"force_upcast": True, "scaling_factor": 0.13025}, [CLIP_L, CLIP_G], 1024),
    "mini": (MINI, MINI_VAE, [MINI_CLIP], 64),
    "toy": (TOY, TOY_VAE, [TOY_CLIP], 16),
}


class RandomFolder(ModelFolder):
    """Components are made, not read."""

    def load(self, model: Any, component: str, device: torch.device, **_: torch.dtype) -> nn.Module:
        config = self.config(component)
        torch.manual_seed(0)
        with device:
            made: nn.Module = model.from_config(config) if "_class_name" in config else _text_encoder(model, config)
        return made.eval()


class _Random:
    """In front of a family."""

    @classmethod
    def files(cls, folder: Path) -> ModelFolder:
        found: ModelFolder = super().files(folder)  # type: ignore[misc]
        return RandomFolder(found.path, found.components)


class RandomStableDiffusion(_Random, StableDiffusion):
    """Stable Diffusion 1.x."""


class RandomStableDiffusionXL(_Random, StableDiffusionXL):
    """SDXL."""


def build(name: str, folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """A family of that size. `folder` gets its configurations and a small vocabulary."""
    unet, vae, encoders, side_px = SIZES[name]
    _write(folder, unet, vae, encoders)
    kind = RandomStableDiffusionXL if len(encoders) > 1 else RandomStableDiffusion
    return kind.load(folder, name, device, dtype, None, side_px)


def _text_encoder(model: Any, config: dict[str, Any]) -> nn.Module:
    from transformers import CLIPTextConfig

    made: nn.Module = model(CLIPTextConfig(**config))
    return made


def _write(folder: Path, unet: dict[str, Any], vae: dict[str, Any], encoders: list[dict[str, Any]]) -> None:
    from tests.trainer_client.conftest import write_tokenizer

    tokenizer = write_tokenizer()
    levels = len(vae["block_out_channels"])
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels}
    configs: dict[str, dict[str, Any]] = {
        "unet": {"_class_name": "UNet2DConditionModel", "in_channels": 4, "out_channels": 4} | unet,
        "vae": {"_class_name": "AutoencoderKL", **blocks, **vae, "force_upcast": vae.get("force_upcast", False)},
    }
    for number, encoder in enumerate(encoders):
        end = f"_{number + 1}" if number else ""
        marks = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 1}
        configs[f"text_encoder{end}"] = {"vocab_size": 49_408, "max_position_embeddings": 77, **encoder, **marks}
        tokenizer.save_pretrained(folder / f"tokenizer{end}")
    for component, config in configs.items():
        (folder / component).mkdir(parents=True, exist_ok=True)
        (folder / component / "config.json").write_text(json.dumps(config))
        (folder / component / "weights.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")  # No tensor.
    (folder / "scheduler").mkdir(exist_ok=True)
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(schedule))
    (folder / "model_index.json").write_text("{}")
