"""Stable Diffusion 1.x and 2.x: epsilon and v-prediction bases in diffusers layout.

Source: Rombach et al., "High-resolution image synthesis with latent diffusion models" (2022).

Shapes: B images, C latent channels, H and W latent rows and columns, T tokens, D text features, R chunks.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import transformers
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

from schemas.digest import sha256_json
from schemas.errors import BadOption
from trainer_client.models.clip_tokens import chunked_ids, expand_words, lost_text
from trainer_client.models.conventions import CHUNK, Conventions, read_conventions
from trainer_client.models.family import AttachPoint, Denoise, EncodeImages, Family, Identity
from trainer_client.models.folder import ModelFolder, quiet, set_vocabulary
from trainer_client.models.noise_schedule import ZERO_SNR, NoiseSchedule, noise_schedule, rescaled
from trainer_client.models.weights import combine, link_files, save_weights
from trainer_client.models.words import read_words, save_words
from trainer_client.performance import channels_last, cuda_graphs, torch_compile
from trainer_client.performance.attention import fused, use_unfused_attention

PREDICTIONS = ("epsilon", "v_prediction")
TEXT_CONVENTIONS = ("clip_skip", "max_tokens")  # The embeddings depend on them.
WRITTEN_OUT_PX = 512  # Above it, a batch's attention scores would take over a gigabyte.
DECODED_AT_ONCE_PX = 1 << 21  # Eight images of 512 px: the decoder's activations are large.
SD_2_TEXT_WIDTH = 1024

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
TEXT_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
UNET_TARGETS = {"attention": ATTENTION, "transformer": (*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2")}
TEXT_TARGETS = {"attention": TEXT_ATTENTION, "transformer": (*TEXT_ATTENTION, "fc1", "fc2")}


def clip_point(prefix: str, flat_prefix: str, vectors: str) -> AttachPoint:
    """Return an attach point; files keep the `text_model.` that transformers 5 dropped."""
    return AttachPoint(TEXT_TARGETS, prefix, flat_prefix, "text_model.", ("text_projection",), vectors)


@dataclass(frozen=True, eq=False)
class StableDiffusion(Family):
    """Stable Diffusion; see `Family`."""

    name = "stable-diffusion"
    denoiser_folder = "unet"
    single_file_mark = "cond_stage_model."
    attach_points: ClassVar[Mapping[str, AttachPoint]] = {
        "denoiser": AttachPoint(UNET_TARGETS, "unet", "lora_unet"),
        "text_encoder": clip_point("text_encoder", "lora_te", "clip_l"),
    }
    encoder_classes: ClassVar[dict[str, str]] = {"text_encoder": "CLIPTextModel"}  # component -> class
    tokenizer_names: ClassVar[tuple[str, ...]] = ("tokenizer",)

    vae: Any

    @classmethod
    def files(cls, folder: Path) -> ModelFolder:
        return ModelFolder(folder, (cls.denoiser_folder, "vae", *cls.encoder_classes))

    @classmethod
    def load(
        cls,
        folder: Path,
        base: str,
        device: torch.device,
        dtype: torch.dtype,
        revision: str | None,
        resolution_px: int | None,
    ) -> Self:
        quiet()
        files = cls.files(folder)
        denoiser = files.load(UNet2DConditionModel, cls.denoiser_folder, device, torch_dtype=torch.float32)
        vae = files.load(AutoencoderKL, "vae", device, torch_dtype=torch.float32).requires_grad_(False)
        text_encoders: dict[str, nn.Module] = {
            name: files.load(getattr(transformers, kind), name, device, dtype=torch.float32).requires_grad_(False)
            for name, kind in cls.encoder_classes.items()
        }
        tokenizers = {name: files.tokenizer(name) for name in cls.tokenizer_names}
        conventions = read_conventions(folder)
        if files.config("scheduler").get("rescale_betas_zero_snr"):  # Models from elsewhere too.
            conventions = conventions.model_copy(update={"zero_terminal_snr": True})
        identity = Identity(base, folder, revision, conventions, read_words(folder / "tokenizer"))
        resolution_px = resolution_px or int(files.config(cls.denoiser_folder)["sample_size"]) * _scale(files)
        return cls(identity, device, dtype, resolution_px, denoiser, text_encoders, tokenizers, files, vae)

    def __post_init__(self) -> None:
        unet, vae = self.folder.config(self.denoiser_folder), self.folder.config("vae")
        if self.resolution_px <= 0 or self.resolution_px % self.size_step_px:
            raise BadOption(
                f"--resolution {self.resolution_px}: {self.base} needs a multiple of {self.size_step_px} pixels."
            )
        if unet["in_channels"] != vae["latent_channels"]:
            raise BadOption(f"{self.base}: its UNet takes {unet['in_channels']} channels (inpainting?); not supported.")
        self._refuse_conventions(self.conventions)

    def _refuse_conventions(self, conventions: Conventions) -> None:
        """Raise BadOption for unsupported conventions."""
        encoders: list[Any] = list(self.text_encoders.values())
        layers = min(int(encoder.config.num_hidden_layers) for encoder in encoders)
        if conventions.clip_skip > layers:
            raise BadOption(
                f"--clip-skip {conventions.clip_skip}: the text encoder of {self.base} has {layers} layers."
            )
        if conventions.zero_terminal_snr and self.prediction != "v_prediction":
            raise BadOption(
                f"--zero-terminal-snr: {self.base} predicts {self.prediction}, which can't be learned from pure"
                " noise; use a v-prediction base."
            )
        if self.prediction not in PREDICTIONS:
            raise BadOption(f"{self.base}: predicts {self.prediction!r}; supported: {', '.join(PREDICTIONS)}.")

    @property
    def tokenizer(self) -> Any:
        """The tokenizer that counts tokens."""
        return self.tokenizers["tokenizer"]

    # Sizes

    @property
    def weights(self) -> int:
        modules = (*self.modules.values(), self.vae)
        return sum(weight.numel() for module in modules for weight in module.parameters())

    @cached_property
    def window(self) -> int:
        """Tokens per chunk."""
        configs: list[Any] = [encoder.config for encoder in self.text_encoders.values()]
        limits = [int(tokenizer.model_max_length) for tokenizer in self.tokenizers.values()]
        return min(*limits, *(int(config.max_position_embeddings) for config in configs))

    @property
    def token_limit(self) -> int:
        return self.conventions.max_tokens // CHUNK * (self.window - 2) + 2

    @cached_property
    def size_step_px(self) -> int:
        return _scale(self.folder) * int(2 ** (len(self.folder.config(self.denoiser_folder)["block_out_channels"]) - 1))

    @cached_property
    def latent_shape(self) -> tuple[int, int, int]:
        side = self.resolution_px // _scale(self.folder)
        return (int(self.folder.config(self.denoiser_folder)["in_channels"]), side, side)

    @cached_property
    def latent_scale(self) -> float:
        return float(self.folder.config("vae").get("scaling_factor", 0.18215))

    # Digests

    @cached_property
    def image_encoder_digest(self) -> str:
        return self.folder.digest_with_config("vae")

    @property
    def text_encoder_digest(self) -> str:
        each = {name: self.folder.digest_with_config(name) for name in self.encoder_classes}
        digest = combine(each) if len(each) > 1 else each["text_encoder"]
        settings = {name: value for name, value in self.conventions.non_defaults().items() if name in TEXT_CONVENTIONS}
        if settings:
            digest = combine({"text_encoder": digest, "conventions": sha256_json(settings)})
        changed = self.identity.changed
        return combine({"text_encoder": digest, "changed": changed}) if changed else digest

    @property
    def file_versions(self) -> tuple[str, str]:
        """As `Family`; SD 2.x is known by its text encoder's width."""
        config: Any = self.text_encoders["text_encoder"].config
        is_v = self.prediction == "v_prediction"
        if config.hidden_size == SD_2_TEXT_WIDTH:
            return (
                "sd_v2_v" if is_v else "sd_v2",
                f"stable-diffusion-{'v2-768-v' if is_v else 'v2-512'}/lora",
            )
        return "sd_v1_v" if is_v else "sd_v1", "stable-diffusion-v1/lora"

    # Text

    def _expanded(self, captions: Sequence[str]) -> list[str]:
        return expand_words(captions, self.identity.words)

    def tokenise(self, captions: Sequence[str]) -> Tensor:
        each = [
            chunked_ids(tokenizer, self._expanded(captions), self.window, self.token_limit)
            for tokenizer in self.tokenizers.values()
        ]
        return torch.cat(each, dim=1).to(self.device)

    def count_tokens(self, captions: Sequence[str]) -> list[int]:
        if not captions:
            return []
        return [len(ids) for ids in self.tokenizer(self._expanded(captions), verbose=False)["input_ids"]]

    def lost_text(self, caption: str) -> str:
        return lost_text(self.tokenizer, self._expanded([caption])[0], self.token_limit)

    def unread_modules(self) -> list[nn.Module]:
        left_out = self.conventions.clip_skip - 1
        encoder: Any = self.text_encoders["text_encoder"]
        encoder = getattr(encoder, "text_model", encoder)
        return list(encoder.encoder.layers[-left_out:]) if left_out else []

    def encode_text(self, ids_BT: Tensor, through: Mapping[str, nn.Module] | None = None) -> Tensor:
        encoder: Any = self.text_encoders["text_encoder"]
        called: Any = (through or self.text_encoders)["text_encoder"]
        skip = self.conventions.clip_skip
        ids_RT = ids_BT.reshape(-1, self.window)  # One row per chunk.
        mask = None
        if getattr(encoder.config, "use_attention_mask", False):
            ends = ids_RT == self.tokenizer.eos_token_id
            mask = (ends.cumsum(dim=1) - ends.long() == 0).long()  # up to the first end mark
        with self.autocast():
            layers = {"output_hidden_states": True} if skip > 1 else {}
            output: Any = called(ids_RT, attention_mask=mask, **layers)
            text_RTD = output[0]
            if skip > 1:
                inner: Any = getattr(called, "module", called)
                text_RTD = getattr(inner, "text_model", inner).final_layer_norm(output.hidden_states[-skip])
        text_BTD: Tensor = text_RTD.float().reshape(*ids_BT.shape, -1)
        return text_BTD

    # Images

    def encode_images(self, pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        return self._encoded(self.vae, pixels_BCHW)

    def _encoded(self, vae: Any, pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        with self.image_precision(), fused(self.device):
            posterior = vae.encode(pixels_BCHW.to(self.device)).latent_dist
        return posterior.mean.float(), posterior.logvar.float()

    @contextmanager
    def compiled_image_encoder(self) -> Iterator[EncodeImages]:
        device = self.device.type
        with self.image_precision():
            dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
        encoder = copy.deepcopy(self.vae.encoder).to(dtype)
        channels_last.convert(encoder)
        if device == "cuda" and self.resolution_px <= WRITTEN_OUT_PX:
            use_unfused_attention(encoder)
        encoder.compile(backend=torch_compile.BACKEND, dynamic=False)
        vae = copy.copy(self.vae)  # Shares everything but the encoder.
        vae._modules = vae._modules | {"encoder": cuda_graphs.GraphedModule(encoder) if device == "cuda" else encoder}
        before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
        try:
            with torch_compile.without_warnings():
                yield partial(self._encoded, vae)
        finally:
            torch.backends.cudnn.benchmark = before

    def latents(self, mean_BCHW: Tensor, logvar_BCHW: Tensor, noise_BCHW: Tensor) -> Tensor:
        return (mean_BCHW + (0.5 * logvar_BCHW).exp() * noise_BCHW) * self.latent_scale

    def decode(self, latents_BCHW: Tensor) -> Tensor:
        at_once = max(1, DECODED_AT_ONCE_PX // self.resolution_px**2)
        parts = []
        for part_BCHW in torch.split(latents_BCHW / self.latent_scale, at_once):
            with self.image_precision():
                decoded_BCHW = self.vae.decode(part_BCHW).sample.float()
            parts.append((decoded_BCHW / 2 + 0.5).clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1))
        return torch.cat(parts)

    def image_precision(self) -> AbstractContextManager[Any]:
        return self.autocast()

    # Diffusion

    @cached_property
    def schedule(self) -> NoiseSchedule:
        config = self.folder.config("scheduler")
        return noise_schedule(config | (ZERO_SNR if self.conventions.zero_terminal_snr else {}), self.device)

    @property
    def prediction(self) -> str:
        return self.schedule.prediction

    @property
    def train_timesteps(self) -> int:
        return len(self.schedule.signal_S)

    def add_noise(self, latents_BCHW: Tensor, noise_BCHW: Tensor, timesteps_B: Tensor) -> Tensor:
        return self.schedule.add_noise(latents_BCHW, noise_BCHW, timesteps_B)

    def target(self, latents_BCHW: Tensor, noise_BCHW: Tensor, timesteps_B: Tensor) -> Tensor:
        return self.schedule.target(latents_BCHW, noise_BCHW, timesteps_B)

    def loss_weights(self, timesteps_B: Tensor, min_snr_gamma: float | None) -> Tensor:
        return self.schedule.loss_weights(timesteps_B, min_snr_gamma)

    def predict(
        self,
        denoiser: nn.Module,
        noisy_BCHW: Tensor,
        timesteps_B: Tensor,
        text_BTD: Tensor,
        sizes_B6: Tensor | None = None,
    ) -> Tensor:
        return self._denoised(denoiser, noisy_BCHW, timesteps_B, text_BTD)

    def _denoised(
        self, denoiser: nn.Module, noisy_BCHW: Tensor, timesteps_B: Tensor, text_BTD: Tensor, **conditions: Any
    ) -> Tensor:
        """Return float32: under autocast for float32 weights, else in the weights' precision."""
        dtype = next(denoiser.parameters()).dtype
        if dtype == torch.float32:
            with self.autocast(), fused(self.device):
                output: Tensor = denoiser(noisy_BCHW, timesteps_B, text_BTD, return_dict=False, **conditions)[0]
            return output.float()
        noisy_BCHW = noisy_BCHW.to(dtype, memory_format=torch.channels_last)
        with torch.autocast(self.device.type, enabled=False), fused(self.device):
            output = denoiser(noisy_BCHW, timesteps_B, text_BTD.to(dtype), return_dict=False, **conditions)[0]
        return output.float()

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    @torch.no_grad()
    def solve(
        self,
        denoise: Denoise,
        text_BTD: Tensor,
        empty_1TD: Tensor,
        noise_BCHW: Tensor,
        steps: int,
        guidance_scale: float,
    ) -> Tensor:
        scheduler = self.schedule.solver(steps)
        guided = guidance_scale != 1
        if guided:
            text_BTD = torch.cat((empty_1TD.expand_as(text_BTD), text_BTD))
        latents_BCHW = noise_BCHW * float(scheduler.init_noise_sigma)
        for timestep in scheduler.timesteps:
            # Both halves in one batch. DPM-Solver does not scale model inputs.
            twice_BCHW = torch.cat((latents_BCHW, latents_BCHW)) if guided else latents_BCHW
            timesteps_B = timestep.to(self.device).expand(len(twice_BCHW))
            output = denoise(twice_BCHW, timesteps_B, text_BTD)
            if guided:
                without, with_text = output.chunk(2)
                output = without + guidance_scale * (with_text - without)
                if self.conventions.zero_terminal_snr:
                    output = rescaled(output, with_text)
            latents_BCHW = scheduler.step(output, timestep, latents_BCHW, return_dict=False)[0]
        return latents_BCHW

    # Checkpoints

    def save(
        self,
        folder: Path,
        dtype: torch.dtype | None = None,
        metadata: Mapping[str, str] | None = None,
        unchanged_from: Path | None = None,
        trained: Sequence[str] = ("denoiser",),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        changed = {self.denoiser_folder if component == "denoiser" else component for component in trained}
        for component in ("scheduler", *self.tokenizer_names):
            link_files(self.folder.path / component, folder / component, copy=True)
        self.conventions.save(folder)
        if self.identity.words:
            for name, tokenizer in self.tokenizers.items():
                tokenizer.save_pretrained(folder / name)
                save_words(self.identity.words, folder / name)
        models = {self.denoiser_folder: self.denoiser, "vae": self.vae, **self.text_encoders}
        for component, model in models.items():
            if unchanged_from is not None and component not in changed:
                link_files(unchanged_from / component, folder / component)
                continue
            save_weights(model, self.folder.path / component, folder / component, dtype, metadata, _FILES[component])
            if component in self.text_encoders and self.identity.words:
                set_vocabulary(folder / component / "config.json", int(model.config.vocab_size))
        self.folder.write_index(folder, self.conventions.zero_terminal_snr)


# Component -> file name and tensor prefix. transformers 5 dropped the text encoder's prefix but still reads it, and
# other tools need it.
_FILES = {
    "unet": ("diffusion_pytorch_model.safetensors", ""),
    "vae": ("diffusion_pytorch_model.safetensors", ""),
    "text_encoder": ("model.safetensors", "text_model."),
    "text_encoder_2": ("model.safetensors", ""),  # transformers kept its names.
}


def _scale(folder: ModelFolder) -> int:
    """Return the pixels per latent row."""
    return int(2 ** (len(folder.config("vae")["block_out_channels"]) - 1))
