"""Stable Diffusion XL: two text encoders, a pooled embedding, conditioning on image sizes.

Source: Podell et al., "SDXL: improving latent diffusion models for high-resolution image synthesis" (2023).

Token ids are those of the first tokenizer, then of the second. An encoding is (B, T + 1, D): T rows with both
second-to-last layers side by side, then the pooled embedding padded with zeros, so that caches and batches need no
special case. The autoencoder overflows in float16 (`force_upcast`), so it runs in float32.

Shapes: B images, T tokens, D text features of both encoders, P of the pooled embedding.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from schemas.errors import BadOption
from trainer_client.models.conventions import Conventions
from trainer_client.models.family import AttachPoint
from trainer_client.models.stable_diffusion import UNET_TARGETS, StableDiffusion, clip_point

RESNET = {  # diffusers -> original
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
NOT_IN_BLOCKS = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}


@dataclass(frozen=True, eq=False)
class StableDiffusionXL(StableDiffusion):
    """SDXL; see `Family`."""

    name = "stable-diffusion-xl"
    single_file_mark = "conditioner.embedders.1."
    attach_points: ClassVar[Mapping[str, AttachPoint]] = {
        "denoiser": AttachPoint(UNET_TARGETS, "unet", "lora_unet"),
        "text_encoder": clip_point("text_encoder", "lora_te1", "clip_l"),
        "text_encoder_2": clip_point("text_encoder_2", "lora_te2", "clip_g"),
    }
    encoder_classes: ClassVar[dict[str, str]] = {
        "text_encoder": "CLIPTextModel",
        "text_encoder_2": "CLIPTextModelWithProjection",
    }
    tokenizer_names: ClassVar[tuple[str, ...]] = ("tokenizer", "tokenizer_2")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse_other_conditions()

    def _refuse_other_conditions(self) -> None:
        """Raise BadOption for the refiner and other variants."""
        unet, vae = self.folder.config("unet"), self.folder.config("vae")
        width = 6 * int(unet.get("addition_time_embed_dim") or 0) + self.pooled_width
        if unet.get("projection_class_embeddings_input_dim") != width or self.pooled_width > self.text_width:
            raise BadOption(
                f"{self.base}: its UNet isn't conditioned on six sizes and a pooled text (a refiner?); not supported."
            )
        if vae.get("latents_mean") is not None:
            raise BadOption(f"{self.base}: its latents are shifted by a mean (`latents_mean`); not supported.")

    def _refuse_conventions(self, conventions: Conventions) -> None:
        if conventions.clip_skip != 1:
            raise BadOption(
                f"--clip-skip: {self.base} is SDXL, which always reads the second-to-last layer. Leave it out."
            )
        super()._refuse_conventions(conventions)

    @property
    def file_versions(self) -> tuple[str, str]:
        return "sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora"

    def flat_path(self, component: str, path: str) -> str:
        if component != "denoiser":
            return path
        config: Any = self.denoiser.config
        return original_path(path, int(config.layers_per_block))

    # Text

    @cached_property
    def zero_for_empty(self) -> bool:
        index = json.loads((self.folder.path / "model_index.json").read_bytes())
        return bool(index.get("force_zeros_for_empty_prompt", True))

    @cached_property
    def pooled_width(self) -> int:
        """P."""
        config: Any = self.text_encoders["text_encoder_2"].config
        return int(config.projection_dim)

    @cached_property
    def text_width(self) -> int:
        """D."""
        configs: list[Any] = [encoder.config for encoder in self.text_encoders.values()]
        return sum(int(config.hidden_size) for config in configs)

    def unread_modules(self) -> list[nn.Module]:
        encoder: Any = self.text_encoders["text_encoder"]  # The second encoder's last layer makes the pooled embedding.
        encoder = getattr(encoder, "text_model", encoder)
        return [encoder.encoder.layers[-1], encoder.final_layer_norm]

    @cached_property
    def _empty_ids(self) -> Tensor:
        return self.tokenise([""])

    def encode_text(self, ids_BT: Tensor, through: Mapping[str, nn.Module] | None = None) -> Tensor:
        """Return (B, T + 1, D), zeros for the empty caption if the base was trained so."""
        layers, pooled_BP, called = [], torch.empty(0), through or self.text_encoders
        with self.autocast():
            for component, part_BT in zip(self.text_encoders, ids_BT.chunk(2, dim=1), strict=True):
                output: Any = called[component](part_BT.reshape(-1, self.window), output_hidden_states=True)
                layers.append(output.hidden_states[-2].float().reshape(*part_BT.shape, -1))
                pooled_BP = output[0].float()  # The second encoder's; the first has none.
        pooled_BP = pooled_BP[:: pooled_BP.shape[0] // len(ids_BT)]  # The first chunk's, as in other programs.
        row_BD = torch.nn.functional.pad(pooled_BP, (0, self.text_width - self.pooled_width))
        text_BTD = torch.cat((torch.cat(layers, dim=2), row_BD[:, None]), dim=1)
        if not self.zero_for_empty:
            return text_BTD
        is_empty_B = (ids_BT == self._empty_ids).all(dim=1)
        return text_BTD.masked_fill(is_empty_B[:, None, None], 0.0)

    # Images

    def image_precision(self) -> AbstractContextManager[Any]:
        upcast = self.folder.config("vae").get("force_upcast", True)
        return torch.autocast(self.device.type, enabled=False) if upcast else self.autocast()

    # Diffusion

    def predict(
        self,
        denoiser: nn.Module,
        noisy_BCHW: Tensor,
        timesteps_B: Tensor,
        text_BTD: Tensor,
        sizes_B6: Tensor | None = None,
    ) -> Tensor:
        if sizes_B6 is None:
            scale, (rows, columns) = self.resolution_px // self.latent_shape[1], noisy_BCHW.shape[2:]
            sizes_B6 = _uncropped(rows * scale, columns * scale, self.device).expand(len(noisy_BCHW), 6)
        conditions = {"text_embeds": text_BTD[:, -1, : self.pooled_width], "time_ids": sizes_B6.float()}
        return self._denoised(denoiser, noisy_BCHW, timesteps_B, text_BTD[:, :-1], added_cond_kwargs=conditions)


@cache  # CUDA graphs read the tensors at a fixed address.
def _uncropped(height: int, width: int, device: torch.device) -> Tensor:
    """Return the size conditioning of an uncropped image, (6,)."""
    return torch.tensor([height, width, 0, 0, height, width], device=device)


def original_path(path: str, layers_per_block: int) -> str:
    """Return a UNet module's path in the original model, whose blocks are numbered across levels.

    `input_blocks` has the entry convolution, then each level's layers and downsampler; `output_blocks` one layer more
    per level, with the upsampler in the last.
    """
    if path in NOT_IN_BLOCKS:
        return NOT_IN_BLOCKS[path]
    match = re.fullmatch(
        r"(down|mid|up)_blocks?\.(?:(\d+)\.)?(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)", path
    )
    if match is None:
        return path
    direction, level, kind, number, suffix = match[1], int(match[2] or 0), match[3], int(match[4]), match[5]
    if kind == "resnets":
        suffix = RESNET.get(suffix, suffix)
    first = level * (layers_per_block + 1)
    if direction == "mid":
        return f"middle_block.{1 if kind == 'attentions' else 2 * number}.{suffix}"
    if kind == "downsamplers":
        return f"input_blocks.{first + layers_per_block + 1}.0.op"
    if direction == "down":
        return f"input_blocks.{1 + first + number}.{1 if kind == 'attentions' else 0}.{suffix}"
    if kind == "upsamplers":
        return f"output_blocks.{first + layers_per_block}.2.{suffix}"
    return f"output_blocks.{first + number}.{1 if kind == 'attentions' else 0}.{suffix}"
