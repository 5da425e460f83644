"""The random mini model as a single file in the original layout: the inverse of what diffusers does on reading one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from trainer_client.lora_names import original_path

ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def write_single_file(base: Path, file: Path, metadata: dict[str, str] | None = None, **more: Any) -> Path:
    """Writes a base in diffusers layout as one file; `more` are further tensors."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet")
    vae = AutoencoderKL.from_pretrained(base, subfolder="vae")
    text = CLIPTextModel.from_pretrained(base, subfolder="text_encoder")
    tensors = dict(more)
    for name, tensor in unet.state_dict().items():
        path, part = name.rsplit(".", 1)
        original = original_path(path, unet.config.layers_per_block)
        original = {"conv_norm_out": "out.0"}.get(path, original)
        # Without attention in its level an upsampler is the second part of its block, not the third.
        original = re.sub(r"(output_blocks\.1)\.2\.conv", r"\1.1.conv", original)
        tensors[f"model.diffusion_model.{original}.{part}"] = tensor
    levels = len(vae.config.block_out_channels)
    for name, tensor in vae.state_dict().items():
        original = vae_name(name, levels)
        is_attention = re.search(r"attn_1\.(q|k|v|proj_out)\.weight", original)
        tensors[f"first_stage_model.{original}"] = tensor[:, :, None, None] if is_attention else tensor
    for name, tensor in text.state_dict().items():
        tensors[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = tensor
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file, metadata=metadata)
    return file


def vae_name(name: str, levels: int) -> str:
    """An autoencoder's tensor by its original name; the decoder's levels were counted from the fine end."""
    name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(
        r"up_blocks\.(\d)\.(resnets|upsamplers)\.(\d)",
        lambda m: f"up.{levels - 1 - int(m[1])}." + (f"block.{m[3]}" if m[2] == "resnets" else "upsample"),
        name,
    )
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = name.replace("mid_block.attentions.0.", "mid.attn_1.").replace("conv_norm_out", "norm_out")
    if "mid.attn_1" in name:
        for part, original in ATTENTION.items():
            name = name.replace(part, original)
    return name.replace("conv_shortcut", "nin_shortcut")
