"""Stable Diffusion XL: two text encoders, a pooled embedding, and the sizes each picture is conditioned on.

Source: Podell et al., "SDXL: improving latent diffusion models for high-resolution image synthesis" (2023).

A caption's ids are those of both tokenizers, one after the other. Its encoding is one tensor (B, T + 1, D): T rows with
both encoders' last layer but one side by side, then a row that holds the pooled embedding and zeros. What caches and
batches captions for one encoder so does it for two.

SDXL's autoencoder overflows in float16 (`force_upcast`): it computes in float32 here, whatever the rest does.

Shapes: B images, T tokens, D text features of both encoders, P of the pooled embedding.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from schemas.errors import BadOption
from trainer_client.models.conventions import Conventions
from trainer_client.models.stable_diffusion import StableDiffusion, component_digests, quiet, usual_dtype
from trainer_client.models.weights import combine


class StableDiffusionXL(StableDiffusion):
    """`trainer_client.models.Family` for SDXL; diffusion, pictures and files are as in Stable Diffusion."""

    name = "stable-diffusion-xl"
    encoder_classes: ClassVar[dict[str, str]] = {
        "text_encoder": "CLIPTextModel",
        "text_encoder_2": "CLIPTextModelWithProjection",
    }
    tokenizer_names: ClassVar[tuple[str, ...]] = ("tokenizer", "tokenizer_2")

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        index = json.loads((self.folder / "model_index.json").read_bytes())
        self.zero_for_empty = bool(index.get("force_zeros_for_empty_prompt", True))
        configs: list[Any] = [encoder.config for encoder in self.text_encoders.values()]
        self.pooled_width = int(configs[1].projection_dim)
        self.text_width = sum(int(config.hidden_size) for config in configs)
        self._refuse_other_conditions()

    def _refuse_other_conditions(self) -> None:
        """The refiner and some descendants are conditioned otherwise."""
        unet, vae = self._config("unet"), self._config("vae")
        told = 6 * int(unet.get("addition_time_embed_dim") or 0) + self.pooled_width
        if unet.get("projection_class_embeddings_input_dim") != told or self.pooled_width > self.text_width:
            raise BadOption(
                f"{self.base}: its UNet isn't told six sizes and a pooled text (a refiner?); not supported."
            )
        if vae.get("latents_mean") is not None:
            raise BadOption(f"{self.base}: its latents have a mean of their own (`latents_mean`); not supported.")

    # Words

    def adopt(self, conventions: Conventions) -> None:
        if conventions.clip_skip != 1:
            raise BadOption(
                f"--clip-skip: {self.base} is SDXL, which reads the last layer but one anyway. Leave it out."
            )
        super().adopt(conventions)
        self.__dict__.pop("_empty_ids", None)

    def idle(self) -> list[nn.Module]:
        encoder: Any = self.text_encoders["text_encoder"]  # The other one's last layer makes the pooled embedding.
        encoder = getattr(encoder, "text_model", encoder)
        return [encoder.encoder.layers[-1], encoder.final_layer_norm]

    @cached_property
    def _empty_ids(self) -> Tensor:
        return self.tokenise([""])

    def encode_text(self, ids_BT: Tensor) -> Tensor:
        """As `Family`: (B, T + 1, D), zeros for the empty caption where the base was trained so."""
        layers, pooled_BP = [], torch.empty(0)
        with self.autocast():
            for component, part_BT in zip(self.text_encoders, ids_BT.chunk(2, dim=1), strict=True):
                output: Any = self.called(component)(part_BT.reshape(-1, self.window), output_hidden_states=True)
                layers.append(output.hidden_states[-2].float().reshape(*part_BT.shape, -1))
                pooled_BP = output[0].float()  # Of the second encoder; the first has none.
        pooled_BP = pooled_BP[:: pooled_BP.shape[0] // len(ids_BT)]  # The first chunk's, as other programs do it.
        row_BD = torch.nn.functional.pad(pooled_BP, (0, self.text_width - self.pooled_width))
        text_BTD = torch.cat((torch.cat(layers, dim=2), row_BD[:, None]), dim=1)
        if not self.zero_for_empty:
            return text_BTD
        is_empty_B = (ids_BT == self._empty_ids).all(dim=1)
        return text_BTD.masked_fill(is_empty_B[:, None, None], 0.0)

    # Pictures

    def picture_precision(self) -> AbstractContextManager[Any]:
        upcast = self._config("vae").get("force_upcast", True)
        return torch.autocast(self.device.type, enabled=False) if upcast else self.autocast()

    # Diffusion

    @cache  # noqa: B019  # A few sizes, as long as the family lives; recorded kernels read where they lie.
    def _uncropped(self, rows: int, columns: int) -> Tensor:
        """What a picture of so many latent rows and columns is said to be, (6,)."""
        scale = self.resolution_px // self.latent_shape[1]
        height, width = rows * scale, columns * scale
        return torch.tensor([height, width, 0, 0, height, width], device=self.device)

    def predict(
        self, noisy_BCHW: Tensor, timesteps_B: Tensor, text_BTD: Tensor, sizes_B6: Tensor | None = None
    ) -> Tensor:
        if sizes_B6 is None:
            sizes_B6 = self._uncropped(*noisy_BCHW.shape[2:]).expand(len(noisy_BCHW), 6)
        told = {"text_embeds": text_BTD[:, -1, : self.pooled_width], "time_ids": sizes_B6.float()}
        return self._denoised(noisy_BCHW, timesteps_B, text_BTD[:, :-1], added_cond_kwargs=told)


def digest(folder: Path) -> str:
    """`Family.digest` of a base, without loading it."""
    return combine(component_digests(folder, ("unet", "vae", *StableDiffusionXL.encoder_classes)))


def load(
    folder: Path,
    base: str,
    device: torch.device | str,
    dtype: torch.dtype | None,
    revision: str | None,
    resolution_px: int | None,
) -> StableDiffusionXL:
    """`trainer_client.models.load_family` for this family."""
    quiet()
    device = torch.device(device)
    return StableDiffusionXL(folder, base, device, dtype or usual_dtype(device), revision, resolution_px)
