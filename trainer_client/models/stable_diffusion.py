"""Stable Diffusion 1.x and 2.x: epsilon and v-prediction bases in diffusers layout.

Sources: Rombach et al., "High-resolution image synthesis with latent diffusion models" (2022); Ho et al., "Denoising
diffusion probabilistic models" (2020) for epsilon; Salimans and Ho, "Progressive distillation" (2022) for v; Hang et
al., "Efficient diffusion training via min-SNR weighting" (2023); Lin et al., "Common diffusion noise schedules and
sample steps are flawed" (2023) for zero terminal SNR; Lu et al., "DPM-Solver++" (2022) for sampling.

Shapes: B images, C latent channels, H and W latent rows and columns, T tokens, D text features, S train timesteps.
"""

from __future__ import annotations

import copy
import inspect
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import transformers
from diffusers import AutoencoderKL, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from torch import Tensor, nn
from transformers import CLIPTokenizer
from transformers.utils import logging as transformers_logging

from schemas.digest import sha256_json
from schemas.errors import BadDocument, BadOption
from trainer_client.models.conventions import CHUNK, Conventions, read_conventions
from trainer_client.models.weights import (
    combine,
    component_digest,
    link_files,
    loading,
    refuse_no_vocabulary,
    save_weights,
    variant_of,
)
from trainer_client.models.words import read_words, save_words
from trainer_client.performance import channels_last, cuda_graphs, torch_compile
from trainer_client.performance.attention import fused, write_out

if TYPE_CHECKING:
    from trainer_client.models.adapter import Adapter

PREDICTIONS = ("epsilon", "v_prediction")
ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}  # As diffusers calls it.
OF_TEXT = ("clip_skip", "max_tokens")  # Conventions that the embeddings depend on.
GUIDANCE_RESCALE = 0.7  # Of guided predictions under such a schedule (Lin et al. 2023).
WRITTEN_OUT_PX = 512  # Of larger pictures, attention's scores of a batch would take more than a gigabyte.
DECODED_AT_ONCE_PX = 1 << 21  # Eight pictures of 512 px: the decoder's activations are large.


class StableDiffusion:
    """`trainer_client.models.Family` for Stable Diffusion; see there what each method promises."""

    name = "stable-diffusion"
    encoder_classes: ClassVar[dict[str, str]] = {"text_encoder": "CLIPTextModel"}  # component -> class
    tokenizer_names: ClassVar[tuple[str, ...]] = ("tokenizer",)

    def __init__(
        self,
        folder: Path,
        base: str,
        device: torch.device,
        dtype: torch.dtype,
        revision: str | None,
        resolution_px: int | None,
    ) -> None:

        self.folder, self.base, self.revision = folder, base, revision
        self.located = folder
        self.adapter: Adapter | None = None
        self.changed: str | None = None
        self.device, self.dtype = device, dtype
        self.variants = {name: variant_of(folder, name) for name in ("unet", "vae", *self.encoder_classes)}
        self.denoiser: nn.Module = self._load(UNet2DConditionModel, "unet", torch_dtype=torch.float32)
        self.vae = self._load(AutoencoderKL, "vae", torch_dtype=torch.float32).requires_grad_(False)
        self.wrapped: dict[str, nn.Module] = {}
        self.painter: nn.Module | None = None
        self.replayed: Callable[..., Tensor] | None = None
        self.text_encoders: dict[str, nn.Module] = {
            name: self._load(getattr(transformers, kind), name, dtype=torch.float32).requires_grad_(False)
            for name, kind in self.encoder_classes.items()
        }
        self.tokenizers = {name: self._tokenizer(name) for name in self.tokenizer_names}
        self.words = read_words(folder / "tokenizer")
        limits = [int(tokenizer.model_max_length) for tokenizer in self.tokenizers.values()]
        configs: list[Any] = [encoder.config for encoder in self.text_encoders.values()]
        self.window = min(*limits, *(int(config.max_position_embeddings) for config in configs))  # Tokens of a chunk.
        modules = (self.denoiser, self.vae, *self.text_encoders.values())
        self.weights = sum(weight.numel() for module in modules for weight in module.parameters())
        self._set_size(resolution_px)
        known = read_conventions(folder)
        own = bool(self._config("scheduler").get("rescale_betas_zero_snr"))  # Whoever made it.
        self.adopt(known.model_copy(update={"zero_terminal_snr": known.zero_terminal_snr or own}))

    def _load(self, model: Any, component: str, **dtype: torch.dtype) -> Any:
        """One component in float32, whatever its files hold."""
        with loading(self.folder / component):
            loaded = model.from_pretrained(
                self.folder, subfolder=component, variant=self.variants[component], low_cpu_mem_usage=False, **dtype
            )
        return loaded.eval().to(self.device)

    def _tokenizer(self, name: str) -> Any:
        refuse_no_vocabulary(self.folder / name)
        with loading(self.folder / name):
            return CLIPTokenizer.from_pretrained(self.folder, subfolder=name)

    @property
    def tokenizer(self) -> Any:
        """The one that counts tokens."""
        return self.tokenizers["tokenizer"]

    def _set_size(self, resolution_px: int | None) -> None:
        unet, vae = self._config("unet"), self._config("vae")
        scale = 2 ** (len(vae["block_out_channels"]) - 1)
        multiple = scale * 2 ** (len(unet["block_out_channels"]) - 1)
        self.size_step_px = multiple
        self.resolution_px = resolution_px or int(unet["sample_size"]) * scale
        if self.resolution_px <= 0 or self.resolution_px % multiple:
            raise BadOption(f"--resolution {self.resolution_px}: {self.base} needs a multiple of {multiple} pixels.")
        self.latent_shape = (int(unet["in_channels"]), self.resolution_px // scale, self.resolution_px // scale)
        self.latent_scale = float(vae.get("scaling_factor", 0.18215))
        if unet["in_channels"] != vae["latent_channels"]:
            raise BadOption(f"{self.base}: its UNet takes {unet['in_channels']} channels (inpainting?); not supported.")

    def adopt(self, conventions: Conventions) -> None:
        encoders: list[Any] = list(self.text_encoders.values())
        layers = min(int(encoder.config.num_hidden_layers) for encoder in encoders)
        if conventions.clip_skip > layers:
            raise BadOption(
                f"--clip-skip {conventions.clip_skip}: the text encoder of {self.base} has {layers} layers."
            )
        self.conventions = conventions
        self.token_limit = conventions.max_tokens // CHUNK * (self.window - 2) + 2
        self._set_schedule()

    def _set_schedule(self) -> None:
        zero_snr = self.conventions.zero_terminal_snr
        self.schedule = self._config("scheduler") | (ZERO_SNR if zero_snr else {})
        self.prediction = self.schedule.get("prediction_type", "epsilon")
        if zero_snr and self.prediction != "v_prediction":
            raise BadOption(
                f"--zero-terminal-snr: {self.base} predicts {self.prediction}, of which noise alone tells nothing; it"
                " needs a base that predicts v."
            )
        if self.prediction not in PREDICTIONS:
            raise BadOption(f"{self.base}: it predicts {self.prediction!r}; known: {', '.join(PREDICTIONS)}.")
        ddpm = _scheduler(DDPMScheduler, self.schedule, clip_sample=False)
        self.train_timesteps = int(ddpm.config.num_train_timesteps)
        alphas_S = ddpm.alphas_cumprod.double()
        self.signal_S = alphas_S.sqrt().float().to(self.device)  # sqrt(alpha bar): the latents' share
        self.noise_S = (1 - alphas_S).sqrt().float().to(self.device)  # sqrt(1 - alpha bar): the noise's share
        self.snr_S = (alphas_S / (1 - alphas_S)).float().to(self.device)

    def _config(self, component: str) -> dict[str, Any]:
        path = self.folder / component / ("scheduler_config.json" if component == "scheduler" else "config.json")
        try:
            config: dict[str, Any] = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise BadDocument(f"{path}: can't be read ({error}). Download or copy the model again.") from error
        return config

    # What names the content

    @cached_property
    def _digests(self) -> dict[str, str]:
        return component_digests(self.folder, tuple(self.variants))

    @property
    def digest(self) -> str:
        return self.changed or combine(self._digests)

    @cached_property
    def image_encoder_digest(self) -> str:
        return self._with_config("vae")

    @property
    def text_encoder_digest(self) -> str:
        each = {name: self._with_config(name) for name in self.encoder_classes}
        own = combine(each) if len(each) > 1 else each["text_encoder"]
        unusual = {name: value for name, value in self.conventions.unusual().items() if name in OF_TEXT}
        own = combine({"text_encoder": own, "conventions": sha256_json(unusual)}) if unusual else own
        return combine({"text_encoder": own, "changed": self.changed}) if self.changed else own

    def _with_config(self, component: str) -> str:
        """Weights and those settings that change the output; names and versions (`_...`, `..._version`) don't."""
        config = self._config(component)
        settings = {k: v for k, v in config.items() if not k.startswith("_") and not k.endswith(("_version", "dtype"))}
        return combine({"weights": self._digests[component], "config": sha256_json(settings)})

    # Words

    def spelt(self, captions: Sequence[str]) -> list[str]:
        """The captions with learnt words as the tokens they stand for."""
        spelt = list(captions)
        for word, tokens in self.words.items():
            if word != tokens:
                spelt = [caption.replace(word, tokens) for caption in spelt]
        return spelt

    def tokenise(self, captions: Sequence[str]) -> Tensor:
        each = [self._tokenised(tokenizer, self.spelt(captions)) for tokenizer in self.tokenizers.values()]
        return torch.cat(each, dim=1).to(self.device)

    def _tokenised(self, tokenizer: Any, captions: list[str]) -> Tensor:
        """Chunks of `window` tokens, side by side: (B, chunks x window)."""
        if self.token_limit == self.window:
            settings = {"padding": "max_length", "max_length": self.window, "truncation": True}
            ids_BT: Tensor = tokenizer(captions, return_tensors="pt", **settings).input_ids
            return ids_BT
        inside = self.window - 2
        rows = []
        for ids in tokenizer(captions, add_special_tokens=False, verbose=False)["input_ids"]:
            row: list[int] = []
            for first in range(0, self.token_limit - 2, inside):
                chunk = [tokenizer.bos_token_id, *ids[first : first + inside], tokenizer.eos_token_id]
                row += [*chunk, *[tokenizer.pad_token_id] * (self.window - len(chunk))]
            rows.append(row)
        return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), -1)

    def count_tokens(self, captions: Sequence[str]) -> list[int]:
        if not captions:
            return []
        return [len(ids) for ids in self.tokenizer(self.spelt(captions), verbose=False)["input_ids"]]

    def lost_text(self, caption: str) -> str:
        caption = self.spelt([caption])[0]
        spans = self.tokenizer(caption, return_offsets_mapping=True, verbose=False)["offset_mapping"]
        if len(spans) <= self.token_limit:
            return ""
        return caption[spans[self.token_limit - 1][0] :]  # The place of the first lost token goes to the end mark.

    def idle(self) -> list[nn.Module]:
        left_out = self.conventions.clip_skip - 1
        encoder: Any = self.text_encoders["text_encoder"]
        encoder = getattr(encoder, "text_model", encoder)
        return list(encoder.encoder.layers[-left_out:]) if left_out else []

    def encode_text(self, ids_BT: Tensor) -> Tensor:
        encoder: Any = self.text_encoders["text_encoder"]
        skip = self.conventions.clip_skip
        ids_RT = ids_BT.reshape(-1, self.window)  # A row for each chunk.
        mask = None
        if getattr(encoder.config, "use_attention_mask", False):
            ends = ids_RT == self.tokenizer.eos_token_id
            mask = (ends.cumsum(dim=1) - ends.long() == 0).long()  # up to the first end mark
        with self.autocast():
            layers = {"output_hidden_states": True} if skip > 1 else {}
            output: Any = self.called("text_encoder")(ids_RT, attention_mask=mask, **layers)
            text_RTD = output[0]
            if skip > 1:
                inner: Any = self.called("text_encoder")
                inner = getattr(inner, "module", inner)
                text_RTD = getattr(inner, "text_model", inner).final_layer_norm(output.hidden_states[-skip])
        text_BTD: Tensor = text_RTD.float().reshape(*ids_BT.shape, -1)
        return text_BTD

    # Pictures

    def encode_images(self, pixels_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        with self.picture_precision(), fused(self.device):
            posterior = self.vae.encode(pixels_BCHW.to(self.device)).latent_dist
        return posterior.mean.float(), posterior.logvar.float()

    @contextmanager
    def encoding_many(self) -> Iterator[None]:
        own, device = self.vae.encoder, self.device.type
        with self.picture_precision():
            dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
        many = copy.deepcopy(own).to(dtype)
        channels_last.keep(many)
        if device == "cuda" and self.resolution_px <= WRITTEN_OUT_PX:
            write_out(many)
        many.compile(backend=torch_compile.BACKEND, dynamic=False)
        self.vae.encoder = cuda_graphs.Replayed(many) if device == "cuda" else many
        before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
        try:
            with torch_compile.unwarned():
                yield
        finally:
            self.vae.encoder, torch.backends.cudnn.benchmark = own, before

    def latents(self, mean_BCHW: Tensor, logvar_BCHW: Tensor, noise_BCHW: Tensor) -> Tensor:
        return (mean_BCHW + (0.5 * logvar_BCHW).exp() * noise_BCHW) * self.latent_scale

    def decode(self, latents_BCHW: Tensor) -> Tensor:
        """Pictures uint8 (B, height, width, 3) of scaled latents."""
        at_once = max(1, DECODED_AT_ONCE_PX // self.resolution_px**2)
        parts = []
        for part_BCHW in torch.split(latents_BCHW / self.latent_scale, at_once):
            with self.picture_precision():
                decoded_BCHW = self.vae.decode(part_BCHW).sample.float()
            parts.append((decoded_BCHW / 2 + 0.5).clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1))
        return torch.cat(parts)

    def picture_precision(self) -> AbstractContextManager[Any]:
        """The precision of the autoencoder's passes."""
        return self.autocast()

    # Diffusion

    def called(self, component: str) -> nn.Module:
        """What a component's passes go through: where gradients are made, what shares them among processes."""
        module = self.denoiser if component == "denoiser" else self.text_encoders[component]
        if torch.is_grad_enabled():
            return self.wrapped.get(component, module)
        return self.painter if component == "denoiser" and self.painter is not None else module

    def add_noise(self, latents_BCHW: Tensor, noise_BCHW: Tensor, timesteps_B: Tensor) -> Tensor:
        return _of(self.signal_S, timesteps_B) * latents_BCHW + _of(self.noise_S, timesteps_B) * noise_BCHW

    def target(self, latents_BCHW: Tensor, noise_BCHW: Tensor, timesteps_B: Tensor) -> Tensor:
        if self.prediction == "epsilon":
            return noise_BCHW
        return _of(self.signal_S, timesteps_B) * noise_BCHW - _of(self.noise_S, timesteps_B) * latents_BCHW

    def predict(
        self, noisy_BCHW: Tensor, timesteps_B: Tensor, text_BTD: Tensor, sizes_B6: Tensor | None = None
    ) -> Tensor:
        return self._denoised(noisy_BCHW, timesteps_B, text_BTD)

    def _denoised(self, noisy_BCHW: Tensor, timesteps_B: Tensor, text_BTD: Tensor, **told: Any) -> Tensor:
        """The denoiser's output, float32: of float32 weights under autocast, of others in their own precision."""
        module = self.called("denoiser")
        own = next(module.parameters()).dtype
        if own == torch.float32:
            with self.autocast(), fused(self.device):
                output: Tensor = module(noisy_BCHW, timesteps_B, text_BTD, return_dict=False, **told)[0]
            return output.float()
        given_BCHW = noisy_BCHW.to(own, memory_format=torch.channels_last)
        with torch.autocast(self.device.type, enabled=False), fused(self.device):
            output = module(given_BCHW, timesteps_B, text_BTD.to(own), return_dict=False, **told)[0]
        return output.float()

    def loss_weights(self, timesteps_B: Tensor, min_snr_gamma: float | None) -> Tensor:
        if min_snr_gamma is None:
            return torch.ones(len(timesteps_B), device=self.device)
        snr_B = self.snr_S[timesteps_B]
        over_B = snr_B if self.prediction == "epsilon" else snr_B + 1
        weights_B: Tensor = snr_B.clamp(max=min_snr_gamma) / over_B.clamp(min=1e-8)
        return weights_B

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    @torch.no_grad()
    def sample(
        self, text_BTD: Tensor, empty_1TD: Tensor, noise_BCHW: Tensor, steps: int, guidance_scale: float
    ) -> Tensor:
        scheduler = self.solver(steps)
        guided = guidance_scale != 1
        if guided:
            text_BTD = torch.cat((empty_1TD.expand_as(text_BTD), text_BTD))
        latents_BCHW = noise_BCHW * float(scheduler.init_noise_sigma)
        with self.autocast():  # One context round the loop: the weights are cast once, not at every step.
            for timestep in scheduler.timesteps:
                # Both halves in one batch. (DPM-Solver scales no model input.)
                twice_BCHW = torch.cat((latents_BCHW, latents_BCHW)) if guided else latents_BCHW
                timesteps_B = timestep.to(self.device).expand(len(twice_BCHW))
                output = (self.replayed or self.predict)(twice_BCHW, timesteps_B, text_BTD)
                if guided:
                    without, with_text = output.chunk(2)
                    output = without + guidance_scale * (with_text - without)
                    if self.conventions.zero_terminal_snr:
                        output = _rescaled(output, with_text)
                latents_BCHW = scheduler.step(output, timestep, latents_BCHW, return_dict=False)[0]
            return self.decode(latents_BCHW)

    def solver(self, steps: int) -> Any:
        """DPM-Solver++ 2M over the base's own noise schedule; deterministic, good from about 15 steps."""
        scheduler = _scheduler(DPMSolverMultistepScheduler, self.schedule, algorithm_type="dpmsolver++", solver_order=2)
        with warnings.catch_warnings():  # It makes arrays of tensors in a way that numpy is giving up.
            warnings.simplefilter("ignore", DeprecationWarning)
            scheduler.set_timesteps(
                steps
            )  # On the CPU: reading a timestep back from a GPU at each step would stall it.
        scheduler.set_begin_index(0)
        return scheduler

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
        changed = {"unet" if component == "denoiser" else component for component in trained}
        for component in ("scheduler", *self.tokenizer_names):
            link_files(self.folder / component, folder / component, copy=True)
        self.conventions.save(folder)
        if self.words:
            for name, tokenizer in self.tokenizers.items():
                tokenizer.save_pretrained(folder / name)
                save_words(self.words, folder / name)
        models = {"unet": self.denoiser, "vae": self.vae, **self.text_encoders}
        for component, model in models.items():
            if unchanged_from is not None and component not in changed:
                link_files(unchanged_from / component, folder / component)
                continue
            save_weights(model, self.folder / component, folder / component, dtype, metadata, _FILES[component])
            if component in self.text_encoders and self.words:
                _set_vocabulary(folder / component / "config.json", int(model.config.vocab_size))
        self._save_index(folder)

    def _save_index(self, folder: Path) -> None:
        index: dict[str, Any] = json.loads((self.folder / "model_index.json").read_bytes())
        index |= {"safety_checker": [None, None], "feature_extractor": [None, None], "requires_safety_checker": False}
        index |= {"image_encoder": [None, None]}
        index.pop("_name_or_path", None)
        own = self._config("scheduler")
        if self.conventions.zero_terminal_snr and not own.get("rescale_betas_zero_snr"):
            index["scheduler"] = ["diffusers", "DDIMScheduler"]  # It knows such schedules; many others don't.
            config = {**own, **ZERO_SNR, "_class_name": "DDIMScheduler", "clip_sample": False}
            path = folder / "scheduler" / "scheduler_config.json"
            path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


# Component -> file name, and the prefix its tensors have had in every Stable Diffusion folder: transformers 5 has
# dropped the text encoder's, other tools look for it, and transformers still reads it.
_FILES = {
    "unet": ("diffusion_pytorch_model.safetensors", ""),
    "vae": ("diffusion_pytorch_model.safetensors", ""),
    "text_encoder": ("model.safetensors", "text_model."),
    "text_encoder_2": ("model.safetensors", ""),  # It has kept its names.
}


def _set_vocabulary(path: Path, size: int) -> None:
    """Tells a saved text encoder how many tokens it knows by now."""
    config = json.loads(path.read_bytes()) | {"vocab_size": size}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _of(table_S: Tensor, timesteps_B: Tensor) -> Tensor:
    """The table's value at each image's timestep, (B, 1, 1, 1)."""
    return table_S[timesteps_B].view(-1, 1, 1, 1)


def _rescaled(guided_BCHW: Tensor, with_text_BCHW: Tensor) -> Tensor:
    """A guided prediction brought back towards the spread of the unguided one, which guidance widens."""
    spread_B111 = with_text_BCHW.std(dim=(1, 2, 3), keepdim=True)
    alike_BCHW = guided_BCHW * (spread_B111 / guided_BCHW.std(dim=(1, 2, 3), keepdim=True))
    return GUIDANCE_RESCALE * alike_BCHW + (1 - GUIDANCE_RESCALE) * guided_BCHW


def _scheduler(kind: Any, config: Mapping[str, Any], **settings: Any) -> Any:
    """A diffusers scheduler with what it understands of another scheduler's configuration."""
    known = inspect.signature(kind.__init__).parameters
    return kind(**{name: value for name, value in {**config, **settings}.items() if name in known})


def component_digests(folder: Path, components: Sequence[str]) -> dict[str, str]:
    """Every component's digest."""
    return {component: component_digest(folder, component, variant_of(folder, component)) for component in components}


def digest(folder: Path) -> str:
    """`Family.digest` of a base, without loading it."""
    return combine(component_digests(folder, ("unet", "vae", *StableDiffusion.encoder_classes)))


def load(
    folder: Path,
    base: str,
    device: torch.device | str,
    dtype: torch.dtype | None,
    revision: str | None,
    resolution_px: int | None,
) -> StableDiffusion:
    """`trainer_client.models.load_family` for this family."""
    quiet()
    device = torch.device(device)
    return StableDiffusion(folder, base, device, dtype or usual_dtype(device), revision, resolution_px)


def usual_dtype(device: torch.device) -> torch.dtype:
    """What forward passes compute in unless told."""
    return torch.float32 if device.type == "cpu" else torch.bfloat16


def quiet() -> None:
    """Libraries say nothing of loading: what matters is in the errors."""

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    diffusers_logging.set_verbosity_error()
    transformers_logging.set_verbosity_error()
