"""The random mini model as a single file in the original layout: the inverse of what diffusers does on reading one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from trainer_client.models.stable_diffusion_xl import original_path

OPEN_CLIP = {
    "encoder.layers.": "transformer.resblocks.",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn": "attn",
    "final_layer_norm": "ln_final",
    "embeddings.token_embedding": "token_embedding",
    "embeddings.position_embedding.weight": "positional_embedding",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def write_single_file(base: Path, file: Path, metadata: dict[str, str] | None = None, **more: Any) -> Path:
    """Writes a base in diffusers layout as one file; `more` are further tensors."""
    from transformers import CLIPTextModel

    text = CLIPTextModel.from_pretrained(base, subfolder="text_encoder").state_dict()
    tensors = {**more, **pictures_and_denoiser(base), **clip(text, "cond_stage_model.transformer.")}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file, metadata=metadata)
    return file


def write_xl_single_file(base: Path, file: Path) -> Path:
    """The same of an SDXL base: its second encoder is in another project's layout."""
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    text = CLIPTextModel.from_pretrained(base, subfolder="text_encoder").state_dict()
    second = CLIPTextModelWithProjection.from_pretrained(base, subfolder="text_encoder_2").state_dict()
    tensors = pictures_and_denoiser(base) | clip(text, "conditioner.embedders.0.transformer.") | open_clip(second)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
    return file


def pictures_and_denoiser(base: Path) -> dict[str, Any]:
    """The UNet's and the autoencoder's tensors."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet")
    vae = AutoencoderKL.from_pretrained(base, subfolder="vae")
    tensors = {}
    without_attention = "CrossAttn" not in unet.config.up_block_types[0]
    for name, tensor in unet.state_dict().items():
        path, part = name.rsplit(".", 1)
        original = original_path(path, unet.config.layers_per_block)
        original = {"conv_norm_out": "out.0"}.get(path, original)
        if without_attention:  # Then an upsampler is the second part of its block, not the third.
            original = re.sub(r"(output_blocks\.1)\.2\.conv", r"\1.1.conv", original)
        tensors[f"model.diffusion_model.{original}.{part}"] = tensor
    levels = len(vae.config.block_out_channels)
    for name, tensor in vae.state_dict().items():
        original = vae_name(name, levels)
        is_attention = re.search(r"attn_1\.(q|k|v|proj_out)\.weight", original)
        tensors[f"first_stage_model.{original}"] = tensor[:, :, None, None] if is_attention else tensor
    return tensors


def clip(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    """A text encoder as transformers names it."""
    return {f"{prefix}text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in state.items()}


def open_clip(state: dict[str, Any]) -> dict[str, Any]:
    """A text encoder as OpenCLIP names it: queries, keys and values in one matrix, the projection turned."""
    import torch

    prefix = "conditioner.embedders.1.model."
    found: dict[str, Any] = {f"{prefix}text_projection": state["text_projection.weight"].T}
    for name, tensor in state.items():
        name = name.removeprefix("text_model.")
        for theirs, original in OPEN_CLIP.items():
            name = name.replace(theirs, original)
        if ".q_proj." in name:
            each = [
                state["text_model." + _back(name).replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")
            ]
            found[prefix + name.replace(".q_proj.", ".in_proj_")] = torch.cat(each)
        elif ".k_proj." not in name and ".v_proj." not in name and "text_projection" not in name:
            found[prefix + name] = tensor
    return found


def _back(name: str) -> str:
    for theirs, original in OPEN_CLIP.items():
        name = name.replace(original, theirs)
    return name


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
