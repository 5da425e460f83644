"""Model families: what training, sampling and caching need to know of a base model, one file a family.

A family is found by `_class_name` in the base's `model_index.json`. To add one: a file with a class that has everything
`Family` lists and a function `load`, and one line in `FAMILIES`.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from schemas.errors import BadDocument, BadOption

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from trainer_client.models.adapter import Adapter
    from trainer_client.models.conventions import Conventions

FAMILIES = {  # _class_name -> module
    "StableDiffusionPipeline": "trainer_client.models.stable_diffusion",
    "StableDiffusionXLPipeline": "trainer_client.models.stable_diffusion_xl",
}


class Family(Protocol):
    """A loaded base model on one device.

    Shapes: B images or captions, C latent channels, H and W latent rows and columns, T tokens, D text features.
    All weights are float32; forward passes run under autocast where `dtype` is a smaller type, and give float32. Only
    `sample` switches gradients off: callers wrap the rest.
    """

    name: str  # as in the run report: "stable-diffusion"
    base: str  # folder or hub name as given
    located: Path  # the folder it was found in
    revision: str | None
    denoiser: nn.Module
    wrapped: dict[str, nn.Module]  # Components by name, as passes with gradients call them in one of several processes.
    painter: nn.Module | None  # What passes without gradients go through instead of the denoiser, while many are drawn.
    replayed: Callable[..., Tensor] | None  # `predict` as `sample` calls it meanwhile.
    text_encoders: dict[str, nn.Module]  # by component: "text_encoder", SDXL's also "text_encoder_2"
    device: torch.device
    dtype: torch.dtype
    token_limit: int
    resolution_px: int
    size_step_px: int  # Sides of pictures are multiples of it.
    latent_shape: tuple[int, int, int]  # (C, H, W) at resolution_px
    weights: int  # numbers in all components
    tokenizers: dict[str, Any]  # one for each text encoder, in their order
    words: dict[str, str]  # learnt words -> the tokens they stand for
    train_timesteps: int
    prediction: str  # "epsilon" or "v_prediction"
    conventions: Conventions
    adapter: Adapter | None  # what is attached to the weights on disk
    changed: str | None  # the digest, where the weights aren't those on disk

    def adopt(self, conventions: Conventions) -> None:
        """Is used as they say from now on, and says so in what it saves. Raises BadOption where it can't."""

    @property
    def digest(self) -> str:
        """Hex SHA-256 over every component's weights as they are on disk, by name and content; or `changed`."""

    @property
    def image_encoder_digest(self) -> str:
        """What cached latents depend on, beside the picture: the autoencoder's weights and configuration."""

    @property
    def text_encoder_digest(self) -> str:
        """What cached embeddings depend on, beside the token ids: the text encoder's weights and configuration."""

    def tokenise(self, captions: Sequence[str]) -> Tensor:
        """int64 (B, T) on the device: cut to `token_limit`, in chunks that each have a begin mark, an end mark and
        padding. Of a family with two tokenizers, the ids of both, one after the other."""

    def count_tokens(self, captions: Sequence[str]) -> list[int]:
        """Tokens with begin and end marks, uncut: more than `token_limit` means words are lost."""

    def lost_text(self, caption: str) -> str:
        """The end of the caption that the cut takes away, "" where nothing is lost."""

    def idle(self) -> list[nn.Module]:
        """Parts of text encoders whose output nothing reads: they can't be trained."""

    def encode_text(self, ids_BT: Tensor) -> Tensor:
        """What the denoiser is told of the captions, (B, T, D): only `predict` and `sample` know what is where."""

    def encode_images(self, pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latents, unscaled, of float pictures in [-1, 1]."""

    def encoding_many(self) -> AbstractContextManager[None]:
        """While entered `encode_images` goes through a compiled encoder: for thousands of pictures of one size, in
        batches of one size."""

    def latents(self, mean_BCHW: Tensor, logvar_BCHW: Tensor, noise_BCHW: Tensor) -> Tensor:
        """A draw from the encoder's distribution, scaled as the denoiser expects it."""

    def add_noise(self, latents_BCHW: Tensor, noise_BCHW: Tensor, timesteps_B: Tensor) -> Tensor:
        """Latents diffused to each image's timestep."""

    def target(self, latents_BCHW: Tensor, noise_BCHW: Tensor, timesteps_B: Tensor) -> Tensor:
        """What `predict` should give."""

    def predict(
        self, noisy_BCHW: Tensor, timesteps_B: Tensor, text_BTD: Tensor, sizes_B6: Tensor | None = None
    ) -> Tensor:
        """The denoiser's output (B, C, H, W). `sizes_B6` as in `cache.Latents`, for families that are conditioned on
        them; None is a picture of the latents' own size, uncropped."""

    def loss_weights(self, timesteps_B: Tensor, min_snr_gamma: float | None) -> Tensor:
        """Each image's weight in the loss (B,); ones without gamma."""

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of forward passes. Enter it round a loop without training: weights are then cast only once."""

    def sample(
        self, text_BTD: Tensor, empty_1TD: Tensor, noise_BCHW: Tensor, steps: int, guidance_scale: float
    ) -> Tensor:
        """Pictures uint8 (B, height, width, 3), drawn from this noise with classifier-free guidance in one batch."""

    def save(
        self,
        folder: Path,
        dtype: torch.dtype | None = None,
        metadata: Mapping[str, str] | None = None,
        unchanged_from: Path | None = None,
        trained: Sequence[str] = ("denoiser",),
    ) -> None:
        """Writes a folder that `from_pretrained` loads; weights as `dtype`, `metadata` in each safetensors header.

        `unchanged_from` is a folder written by `save` of the same base: components not in `trained` ("denoiser" and
        names of `text_encoders`) are hard links to its files (copies where the file system has no links).
        """


def load_family(
    base: str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    revision: str | None = None,
    resolution_px: int | None = None,
) -> Family:
    """Loads a base: a local folder in diffusers layout, or a hub name (downloaded once, then found offline).

    `dtype` is what forward passes compute in, by default bfloat16 on a GPU and float32 on a CPU.
    Raises NotFound (no such base), BadDocument (no model_index.json), BadOption (family or resolution not supported).
    """
    from trainer_client.models.weights import locate

    folder = locate(base, revision)
    module = importlib.import_module(FAMILIES[_class_name(folder)])
    family: Family = module.load(folder, base, device, dtype, revision, resolution_px)
    return family


def base_digest(base: str, revision: str | None = None) -> str:
    """`load_family(base).digest` without loading the model. Raises as it does."""
    from trainer_client.models.weights import locate

    folder = locate(base, revision)
    digest: str = importlib.import_module(FAMILIES[_class_name(folder)]).digest(folder)
    return digest


def _class_name(folder: Path) -> str:
    path = folder / "model_index.json"
    try:
        name = json.loads(path.read_bytes())["_class_name"]
    except FileNotFoundError as error:
        raise BadDocument(f"{path}: missing. A base model is a folder in diffusers layout.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadDocument(f"{path}: names no `_class_name`. A base model is a folder in diffusers layout.") from error
    if name not in FAMILIES:
        raise BadOption(f"{path}: the family {name} can't be trained here. Known: {', '.join(FAMILIES)}.")
    return str(name)
