"""What a layer is called in a LoRA file, by each of the two conventions.

The flattened convention joins a module's path by underscores under a prefix for its component. For SD 1.x and 2.x the
path is the diffusers one; for SDXL that of the original model (`input_blocks_4_1_...`), by which A1111, Forge, ComfyUI
and diffusers all find it. Text encoders are named with the `text_model` that transformers 5 has dropped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer_client.models import Family

COMPONENT_PREFIX = {"denoiser": "unet", "text_encoder": "text_encoder", "text_encoder_2": "text_encoder_2"}
FLAT_PREFIX = {
    "stable-diffusion": {"denoiser": "lora_unet", "text_encoder": "lora_te"},
    "stable-diffusion-xl": {"denoiser": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"},
}
RESNET = {  # diffusers -> original
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}


def diffusers_path(component: str, path: str) -> str:
    """`unet.<path>`, `text_encoder.text_model.<path>`."""
    return f"{COMPONENT_PREFIX[component]}.{_with_text_model(component, path)}"


def flat_name(family: Family, component: str, path: str, sgm: bool = True) -> str:
    """`lora_unet_<path>`, `lora_te_text_model_<path>`; SDXL's denoiser by the original's names, unless `sgm` is off."""
    if component == "denoiser" and family.name == "stable-diffusion-xl" and sgm:
        path = original_path(path, int(family.denoiser.config.layers_per_block))  # type: ignore[union-attr,arg-type]
    return f"{FLAT_PREFIX[family.name][component]}_{_with_text_model(component, path).replace('.', '_')}"


def _with_text_model(component: str, path: str) -> str:
    if component == "denoiser" or path.startswith(("text_model.", "text_projection")):
        return path
    return f"text_model.{path}"


def original_path(path: str, layers_per_block: int) -> str:
    """A UNet module's path in the original model's numbering: blocks are counted through, without their levels.

    `input_blocks` has the entry convolution, then of every level its layers and its downsampler; `output_blocks` of
    every level one layer more, the upsampler being a part of the last one.
    """
    if path in OUTSIDE:
        return OUTSIDE[path]
    match = re.fullmatch(
        r"(down|mid|up)_blocks?\.(?:(\d+)\.)?(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)", path
    )
    if match is None:
        return path
    way, level, kind, number, rest = match[1], int(match[2] or 0), match[3], int(match[4]), match[5]
    if kind == "resnets":
        rest = RESNET.get(rest, rest)
    at = level * (layers_per_block + 1)
    if way == "mid":
        return f"middle_block.{1 if kind == 'attentions' else 2 * number}.{rest}"
    if kind == "downsamplers":
        return f"input_blocks.{at + layers_per_block + 1}.0.op"
    if way == "down":
        return f"input_blocks.{1 + at + number}.{1 if kind == 'attentions' else 0}.{rest}"
    if kind == "upsamplers":
        return f"output_blocks.{at + layers_per_block}.2.{rest}"
    return f"output_blocks.{at + number}.{1 if kind == 'attentions' else 0}.{rest}"
