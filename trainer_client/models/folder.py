"""A base model's folder in diffusers layout: configurations, digests, loading."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from transformers import CLIPTokenizer
from transformers.utils import logging as transformers_logging

from schemas.digest import sha256_json
from schemas.errors import BadDocument
from trainer_client.models.noise_schedule import ZERO_SNR
from trainer_client.models.weights import INDEX, combine, component_digest, loading, refuse_no_vocabulary, variant_of


@dataclass(frozen=True)
class ModelFolder:
    """A folder, and its components that hold weights."""

    path: Path
    components: tuple[str, ...]

    @cached_property
    def variants(self) -> dict[str, str | None]:
        """Weights variant of each component. Raise NotFound."""
        return {component: variant_of(self.path, component) for component in self.components}

    @cached_property
    def digests(self) -> dict[str, str]:
        return {name: component_digest(self.path, name, variant) for name, variant in self.variants.items()}

    @property
    def digest(self) -> str:
        """`Family.digest` without loading the model."""
        return combine(self.digests)

    def digest_with_config(self, component: str) -> str:
        """Return a digest of weights and of settings that change the output."""
        config = self.config(component)
        settings = {k: v for k, v in config.items() if not k.startswith("_") and not k.endswith(("_version", "dtype"))}
        return combine({"weights": self.digests[component], "config": sha256_json(settings)})

    def config(self, component: str) -> dict[str, Any]:
        """Return a component's configuration. Raise BadDocument."""
        path = self.path / component / ("scheduler_config.json" if component == "scheduler" else "config.json")
        try:
            config: dict[str, Any] = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise BadDocument(f"{path}: can't be read ({error}). Download or copy the model again.") from error
        return config

    def load(self, model: Any, component: str, device: torch.device, **dtype: torch.dtype) -> Any:
        """Load one component in float32."""
        variant = self.variants[component]
        with loading(self.path / component):
            loaded = model.from_pretrained(
                self.path, subfolder=component, variant=variant, low_cpu_mem_usage=False, **dtype
            )
        return loaded.eval().to(device)

    def tokenizer(self, name: str) -> Any:
        """Load a CLIP tokenizer. Raise NotFound, BadDocument."""
        refuse_no_vocabulary(self.path / name)
        with loading(self.path / name):
            return CLIPTokenizer.from_pretrained(self.path, subfolder=name)

    def write_index(self, folder: Path, zero_terminal_snr: bool) -> None:
        """Write `model_index.json`, and the scheduler's configuration if changed."""
        index: dict[str, Any] = json.loads((self.path / INDEX).read_bytes())
        index |= {"safety_checker": [None, None], "feature_extractor": [None, None], "requires_safety_checker": False}
        index |= {"image_encoder": [None, None]}
        index.pop("_name_or_path", None)
        scheduler = self.config("scheduler")
        if zero_terminal_snr and not scheduler.get("rescale_betas_zero_snr"):
            index["scheduler"] = ["diffusers", "DDIMScheduler"]  # Few schedulers support zero terminal SNR.
            config = {**scheduler, **ZERO_SNR, "_class_name": "DDIMScheduler", "clip_sample": False}
            path = folder / "scheduler" / "scheduler_config.json"
            path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def set_vocabulary(path: Path, size: int) -> None:
    """Set the vocabulary size in a text encoder's configuration."""
    config = json.loads(path.read_bytes()) | {"vocab_size": size}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def quiet() -> None:
    """Silence diffusers and transformers: errors are raised."""
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    diffusers_logging.set_verbosity_error()
    transformers_logging.set_verbosity_error()
