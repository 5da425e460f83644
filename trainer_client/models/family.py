"""A loaded base model, whatever its family.

An adapter, a word or other conventions give a new object with another `Identity`. Both share the modules, so drop the
old one. Training changes weights in place.

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
    """The source of a loaded model, and how to use it."""

    base: str  # Folder or hub name as given.
    located: Path  # Its folder on this machine.
    revision: str | None
    conventions: Conventions
    words: Mapping[str, str] = field(default_factory=dict)  # Learned words -> the tokens they stand for.
    adapter: Adapter | None = None  # What is attached to the weights on disk.
    changed: str | None = None  # The digest, if weights differ from those on disk.


@dataclass(frozen=True)
class AttachPoint:
    """A module that takes adapters, and its name in adapter files."""

    targets: Mapping[str, Sequence[str]]  # `--targets` -> suffixes of layer names.
    prefix: str  # In files of diffusers and peft: "unet".
    flat_prefix: str  # In files of A1111, Forge and ComfyUI: "lora_unet".
    inner: str = ""  # Prefix of layer paths in files only: CLIP's "text_model.".
    outside: tuple[str, ...] = ()  # Path prefixes without `inner`.
    vectors: str | None = None  # Key of learned words in files for several encoders: "clip_l".

    def full_path(self, path: str) -> str:
        """Return a layer's path in files."""
        return path if path.startswith((self.inner, *self.outside)) else self.inner + path


@dataclass(frozen=True, eq=False)
class Family(ABC):
    """A loaded base model on one device.

    Weights are float32; passes run under autocast if `dtype` is smaller, and return float32. Only `sample` and `solve`
    disable gradients.
    """

    name: ClassVar[str]  # As in the run report: "stable-diffusion".
    denoiser_folder: ClassVar[str]  # The denoiser's component in diffusers layout.
    single_file_mark: ClassVar[str]  # Prefix of tensor names in single files of this family only.
    attach_points: ClassVar[Mapping[str, AttachPoint]]  # By component, as in `modules`.

    identity: Identity
    device: torch.device
    dtype: torch.dtype
    resolution_px: int
    denoiser: nn.Module
    text_encoders: dict[str, nn.Module]  # By component: "text_encoder", SDXL's also "text_encoder_2".
    tokenizers: dict[str, Any]  # One per text encoder, in order.
    folder: ModelFolder  # The weights on disk, without adapters.

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
        """Load every component. Raise NotFound, BadDocument, BadOption."""

    @classmethod
    @abstractmethod
    def files(cls, folder: Path) -> ModelFolder:
        """Return the folder, with its components that hold weights."""

    def identified(self, **changes: Any) -> Self:
        """Return the same modules under a changed identity. Raise BadOption if not supported."""
        return replace(self, identity=replace(self.identity, **changes))

    @property
    def base(self) -> str:
        """Folder or hub name as given."""
        return self.identity.base

    @property
    def conventions(self) -> Conventions:
        return self.identity.conventions

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Trainable modules, by component."""
        return {"denoiser": self.denoiser, **self.text_encoders}

    def compile_key(self, *facts: object) -> str:
        """Return a key for the compiled denoiser; `facts` are further values that decide shapes."""
        shapes = (self.latent_shape, self.token_limit, *facts)
        return torch_compile.compile_key(self.denoiser, self.device, self.dtype, *shapes)

    @property
    @abstractmethod
    def weights(self) -> int:
        """Number of weights."""

    @property
    @abstractmethod
    def token_limit(self) -> int:
        """Caption tokens read, with begin and end marks."""

    @property
    @abstractmethod
    def size_step_px(self) -> int:
        """Image sides must be multiples of it."""

    @property
    @abstractmethod
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, H, W) at `resolution_px`."""

    @property
    @abstractmethod
    def train_timesteps(self) -> int:
        """Number of timesteps; the last is almost pure noise."""

    @property
    @abstractmethod
    def prediction(self) -> str:
        """ "epsilon" or "v_prediction"."""

    @property
    def digest(self) -> str:
        """Hex SHA-256 over all weights on disk, by name and content; or `changed`."""
        return self.identity.changed or self.folder.digest

    @property
    @abstractmethod
    def image_encoder_digest(self) -> str:
        """Digest of weights and configuration, for cache keys."""

    @property
    @abstractmethod
    def text_encoder_digest(self) -> str:
        """Digest of weights and configuration, for cache keys."""

    @property
    @abstractmethod
    def file_versions(self) -> tuple[str, str]:
        """`ss_base_model_version` and `modelspec.architecture` in adapter files."""

    def flat_path(self, component: str, path: str) -> str:
        """Return a layer's path as A1111, Forge and ComfyUI name it, with dots."""
        return path

    @abstractmethod
    def tokenise(self, captions: Sequence[str]) -> Tensor:
        """Return int64 (B, T) on the device, truncated to `token_limit`, in chunks with marks and padding.

        For two tokenizers, all ids of the first, then those of the second.
        """

    @abstractmethod
    def count_tokens(self, captions: Sequence[str]) -> list[int]:
        """Return token counts with marks, before truncation."""

    @abstractmethod
    def lost_text(self, caption: str) -> str:
        """Return the end of the caption that truncation removes."""

    @abstractmethod
    def unread_modules(self) -> list[nn.Module]:
        """Return untrainable parts of text encoders: their output is never read."""

    @abstractmethod
    def encode_text(self, ids_BT: Tensor, through: Mapping[str, nn.Module] | None = None) -> Tensor:
        """Return the conditioning (B, T, D), whose layout only `predict` and `sample` know.

        `through` replaces text encoders by wrapped ones.
        """

    @abstractmethod
    def encode_images(self, pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance, unscaled, for float images in [-1, 1]."""

    @abstractmethod
    def compiled_image_encoder(self) -> AbstractContextManager[EncodeImages]:
        """Yield a compiled `encode_images`, for thousands of images in batches of one size."""

    @abstractmethod
    def latents(self, mean_BCHW: Tensor, logvar_BCHW: Tensor, noise_BCHW: Tensor) -> Tensor:
        """Sample and scale latents for the denoiser."""

    @abstractmethod
    def decode(self, latents_BCHW: Tensor) -> Tensor:
        """Return images uint8 (B, height, width, 3) for scaled latents."""

    @abstractmethod
    def add_noise(self, latents_BCHW: Tensor, noise_BCHW: Tensor, timesteps_B: Tensor) -> Tensor:
        """Diffuse latents to each image's timestep."""

    @abstractmethod
    def target(self, latents_BCHW: Tensor, noise_BCHW: Tensor, timesteps_B: Tensor) -> Tensor:
        """Return the target of `predict`."""

    @abstractmethod
    def predict(
        self,
        denoiser: nn.Module,
        noisy_BCHW: Tensor,
        timesteps_B: Tensor,
        text_BTD: Tensor,
        sizes_B6: Tensor | None = None,
    ) -> Tensor:
        """Return the output (B, C, H, W) of `denoiser`: the model's own, a copy, or a wrapper.

        `sizes_B6` as in `Latents.sizes_N6`; None for uncropped images of the latents' size.
        """

    @abstractmethod
    def loss_weights(self, timesteps_B: Tensor, min_snr_gamma: float | None) -> Tensor:
        """Return loss weights (B,), 1 without gamma."""

    @abstractmethod
    def autocast(self) -> AbstractContextManager[Any]:
        """Return the precision context of passes. Enter it around a sampling loop: weights are cast once."""

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
        """Return scaled latents, denoised from this noise; guidance runs in one batch."""

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
        """Return images uint8 (B, height, width, 3)."""
        with self.autocast():  # Around the loop: weights are cast once, not at every step.
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
        """Write a folder that `from_pretrained` loads, with `metadata` in each safetensors header.

        `unchanged_from` is a folder saved from the same base: components not in `trained` become hard links to its
        files (copies if links fail).
        """
