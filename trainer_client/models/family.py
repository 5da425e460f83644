"""A loaded base model: what training, sampling and caching need to know of it, whatever its family.

A model is immutable in what identifies it. What is put on it (an adapter, a word, other conventions) gives a new object
with another `Identity`; both share the modules, so drop the old one. Weights do change: training moves them in place.

Shapes: B images or captions, C latent channels, H and W latent rows and columns, T tokens, D text features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from trainer_client.models.adapter import Adapter
from trainer_client.models.conventions import Conventions
from trainer_client.performance import torch_compile

if TYPE_CHECKING:
    from trainer_client.models.folder import ModelFolder

Denoise = Callable[["Tensor", "Tensor", "Tensor"], "Tensor"]  # (noisy_BCHW, timesteps_B, text_BTD) -> the prediction
EncodeImages = Callable[["Tensor"], tuple["Tensor", "Tensor"]]  # As `Family.encode_images`.


@dataclass(frozen=True)
class Identity:
    """What a loaded model is, and how it is to be used."""

    base: str  # Folder or hub name as given.
    located: Path  # The folder it was found in.
    revision: str | None
    conventions: Conventions
    words: Mapping[str, str] = field(default_factory=dict)  # Learned words -> the tokens they stand for.
    adapter: Adapter | None = None  # What is attached to the weights on disk.
    changed: str | None = None  # The digest, if the weights aren't those on disk.


@dataclass(frozen=True)
class AttachPoint:
    """A module that an adapter can be put on, and what files of adapters call it."""

    targets: Mapping[str, Sequence[str]]  # `--targets` -> endings of the names of layers.
    prefix: str  # In files of diffusers and peft: "unet".
    flat_prefix: str  # In files of A1111, Forge and ComfyUI: "lora_unet".
    inner: str = ""  # What files put before a layer's path, if it doesn't begin so: CLIP's "text_model.".
    outside: tuple[str, ...] = ()  # Beginnings of paths that it isn't put before.
    vectors: str | None = None  # A text encoder in a file of learned words for several encoders: "clip_l".

    def full_path(self, path: str) -> str:
        """A layer's path as files have it."""
        return path if path.startswith((self.inner, *self.outside)) else self.inner + path


@dataclass(frozen=True, eq=False)
class Family(ABC):
    """A loaded base model on one device.

    All weights are float32; forward passes run under autocast if `dtype` is a smaller type, and give float32. Only
    `sample` and `solve` switch gradients off: callers wrap the rest.
    """

    name: ClassVar[str]  # As in the run report: "stable-diffusion".
    denoiser_folder: ClassVar[str]  # In a folder in diffusers layout: the component that every training changes.
    single_file_mark: ClassVar[str]  # What names in a single file of such a model, and of no other, begin with.
    attach_points: ClassVar[Mapping[str, AttachPoint]]  # By component, as in `modules`.

    identity: Identity
    device: torch.device
    dtype: torch.dtype
    resolution_px: int
    denoiser: nn.Module
    text_encoders: dict[str, nn.Module]  # By component: "text_encoder", SDXL's also "text_encoder_2".
    tokenizers: dict[str, Any]  # One for each text encoder, in their order.
    folder: ModelFolder  # Of the weights, without what is attached to them.

    @classmethod
    @abstractmethod
    def load(
        cls,
        folder: Path,
        base: str,
        device: torch.device,
        dtype: torch.dtype,
        revision: str | None,
        resolution_px: int | None,
    ) -> Self:
        """Load every component of a folder. Raises NotFound, BadDocument, BadOption."""

    @classmethod
    @abstractmethod
    def files(cls, folder: Path) -> ModelFolder:
        """The folder, with its components that hold weights."""

    def identified(self, **changes: Any) -> Self:
        """Return the same modules under an identity with these changes. Raises BadOption if the model can't be so."""
        return replace(self, identity=replace(self.identity, **changes))

    @property
    def base(self) -> str:
        """Folder or hub name as given."""
        return self.identity.base

    @property
    def conventions(self) -> Conventions:
        """How the model is to be used where its weights don't say so."""
        return self.identity.conventions

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Everything that can be trained, by component."""
        return {"denoiser": self.denoiser, **self.text_encoders}

    def compiled_name(self, *facts: object) -> str:
        """What names compiled passes of the denoiser as it is now; `facts` are what else decides shapes."""
        shapes = (self.latent_shape, self.token_limit, *facts)
        return torch_compile.named(self.denoiser, self.device, self.dtype, *shapes)

    @property
    @abstractmethod
    def weights(self) -> int:
        """Numbers in all components."""

    @property
    @abstractmethod
    def token_limit(self) -> int:
        """Tokens of a caption that are read, with begin and end marks."""

    @property
    @abstractmethod
    def size_step_px(self) -> int:
        """Sides of images are multiples of it."""

    @property
    @abstractmethod
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, H, W) at `resolution_px`."""

    @property
    @abstractmethod
    def train_timesteps(self) -> int:
        """Timesteps are integers below it; the last is nearly noise."""

    @property
    @abstractmethod
    def prediction(self) -> str:
        """What the denoiser's output is: "epsilon", "v_prediction"."""

    @property
    def digest(self) -> str:
        """Hex SHA-256 over every component's weights as they are on disk, by name and content; or `changed`."""
        return self.identity.changed or self.folder.digest

    @property
    @abstractmethod
    def image_encoder_digest(self) -> str:
        """What cached latents depend on, beside the image: the autoencoder's weights and configuration."""

    @property
    @abstractmethod
    def text_encoder_digest(self) -> str:
        """What cached embeddings depend on, beside the token ids: the text encoder's weights and configuration."""

    @property
    @abstractmethod
    def file_versions(self) -> tuple[str, str]:
        """What adapter files call the base: `ss_base_model_version` and `modelspec.architecture`."""

    def flat_path(self, component: str, path: str) -> str:
        """A layer's path as A1111, Forge and ComfyUI name it, before its dots become underscores."""
        return path

    @abstractmethod
    def tokenise(self, captions: Sequence[str]) -> Tensor:
        """int64 (B, T) on the device: cut to `token_limit`, in chunks that each have a begin mark, an end mark and
        padding. Of a family with two tokenizers, the ids of both, one after the other."""

    @abstractmethod
    def count_tokens(self, captions: Sequence[str]) -> list[int]:
        """Tokens with begin and end marks, uncut: more than `token_limit` means words are lost."""

    @abstractmethod
    def lost_text(self, caption: str) -> str:
        """The end of the caption that the cut takes away, "" if nothing is lost."""

    @abstractmethod
    def idle(self) -> list[nn.Module]:
        """Parts of text encoders whose output nothing reads: they can't be trained."""

    @abstractmethod
    def encode_text(self, ids_BT: Tensor, through: Mapping[str, nn.Module] | None = None) -> Tensor:
        """What the denoiser is told of the captions, (B, T, D): only `predict` and `sample` know what is where.

        `through` are the text encoders to call, by component, if they aren't the model's own: wrapped for training.
        """

    @abstractmethod
    def encode_images(self, pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latents, unscaled, of float images in [-1, 1]."""

    @abstractmethod
    def encoding_many(self) -> AbstractContextManager[EncodeImages]:
        """Give an `encode_images` through a compiled encoder: for thousands of images of one size, in batches of one
        size."""

    @abstractmethod
    def latents(self, mean_BCHW: Tensor, logvar_BCHW: Tensor, noise_BCHW: Tensor) -> Tensor:
        """A draw from the encoder's distribution, scaled as the denoiser expects it."""

    @abstractmethod
    def decode(self, latents_BCHW: Tensor) -> Tensor:
        """Images uint8 (B, height, width, 3) of scaled latents."""

    @abstractmethod
    def add_noise(self, latents_BCHW: Tensor, noise_BCHW: Tensor, timesteps_B: Tensor) -> Tensor:
        """Latents diffused to each image's timestep."""

    @abstractmethod
    def target(self, latents_BCHW: Tensor, noise_BCHW: Tensor, timesteps_B: Tensor) -> Tensor:
        """What `predict` should give."""

    @abstractmethod
    def predict(
        self,
        denoiser: nn.Module,
        noisy_BCHW: Tensor,
        timesteps_B: Tensor,
        text_BTD: Tensor,
        sizes_B6: Tensor | None = None,
    ) -> Tensor:
        """The output (B, C, H, W) of `denoiser`: the model's own, a copy of it, or what wraps it.

        `sizes_B6` as in `Latents.sizes_N6`, for families that are conditioned on them; None is an image of the latents'
        own size, uncropped.
        """

    @abstractmethod
    def loss_weights(self, timesteps_B: Tensor, min_snr_gamma: float | None) -> Tensor:
        """Each image's weight in the loss (B,); ones without gamma."""

    @abstractmethod
    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of forward passes. Enter it round a loop without training: weights are then cast only once."""

    @abstractmethod
    def solve(
        self,
        denoise: Denoise,
        text_BTD: Tensor,
        empty_1TD: Tensor,
        noise_BCHW: Tensor,
        steps: int,
        guidance_scale: float,
    ) -> Tensor:
        """Scaled latents that `denoise` makes of this noise, with classifier-free guidance in one batch."""

    @torch.no_grad()
    def sample(
        self,
        denoise: Denoise,
        text_BTD: Tensor,
        empty_1TD: Tensor,
        noise_BCHW: Tensor,
        steps: int,
        guidance_scale: float,
    ) -> Tensor:
        """Images uint8 (B, height, width, 3): `solve`, then `decode`."""
        with self.autocast():  # One context round the loop: the weights are cast once, not at every step.
            return self.decode(self.solve(denoise, text_BTD, empty_1TD, noise_BCHW, steps, guidance_scale))

    @abstractmethod
    def save(
        self,
        folder: Path,
        dtype: torch.dtype | None = None,
        metadata: Mapping[str, str] | None = None,
        unchanged_from: Path | None = None,
        trained: Sequence[str] = ("denoiser",),
    ) -> None:
        """Write a folder that `from_pretrained` loads; weights as `dtype`, `metadata` in each safetensors header.

        `unchanged_from` is a folder written by `save` of the same base: components not in `trained` ("denoiser" and
        names of `text_encoders`) are hard links to its files (copies if the file system has no links).
        """
