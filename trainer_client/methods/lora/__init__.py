"""LoRA: a low-rank update of the denoiser's layers, and of the text encoders' where asked for; the base stays as it is.

A checkpoint holds the update alone, twice: as diffusers and peft name it, and as A1111, Forge and ComfyUI do.

Source: Hu et al., "LoRA: low-rank adaptation of large language models" (2021).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from schemas.errors import BadOption
from trainer_client.config import TrainConfig
from trainer_client.config.methods import LoRA as Options
from trainer_client.methods import without_idle, write_adapter
from trainer_client.methods.lora.files import layers_of, merge_layers, run_metadata, write_layouts
from trainer_client.methods.lora.layers import _update, add_layers
from trainer_client.methods.lora.read import read_lora
from trainer_client.models import Family
from trainer_client.models.adapter import Adapter, weights_of

COPIES = 2  # Layouts in which a checkpoint holds the update.
SHAPE = ("rank", "alpha", "targets", "train_text_encoder")  # Settings that a continued LoRA can't change.


class LoRA:
    """`trainer_client.methods.Method`; see there what each member promises."""

    name = "lora"

    def __init__(self, family: Family, options: Options, seed: int, run_facts: Mapping[str, str]) -> None:
        self.family, self.run_facts = family, run_facts
        self.settings = {name: getattr(options, name) for name in SHAPE}
        adapter = family.identity.adapter
        if adapter is None:
            add_layers(family, self.settings, seed)
        else:
            _refuse_other_shape(family.base, adapter.settings, self.settings)
        self.parameters = without_idle(family, _update(family))
        self.encodes_text = options.train_text_encoder
        self.start: dict[str, str] = {}

    def numbers_saved(self, first: bool) -> int:
        return COPIES * sum(weight.numel() for weight in self.parameters.values())

    def save(self, folder: Path, dtype: torch.dtype, metadata: Mapping[str, str], first: Path | None) -> None:
        weights = write_layouts(self.family, self.settings, self.run_facts, folder, dtype, metadata)
        write_adapter(folder, self.name, self.family, self.settings, weights)


def begin(family: Family, config: TrainConfig) -> LoRA:
    """`trainer_client.methods.begin` for this method."""
    assert isinstance(config.method, Options)
    return LoRA(family, config.method, config.augmentation.seed, run_metadata(config))


def attach(family: Family, folder: Path, adapter: Adapter) -> Family:
    """Put a checkpoint's update on the family it was trained on."""
    layers = read_lora(weights_of(folder, adapter), family)
    add_layers(family, adapter.settings, seed=0)
    weights = _update(family)
    with torch.no_grad():
        for (component, path), layer in layers.items():
            for part, tensor in (("lora_A", layer.down), ("lora_B", layer.up)):
                weights[f"{component}.{path}.{part}.default.weight"].copy_(tensor)
    for weight in weights.values():
        weight.requires_grad_(False)
    return family


def bake(family: Family) -> Family:
    """Add the update to the base's own weights and take its layers out."""
    found = layers_of(family)
    for module in family.modules.values():
        for name, layer in list(module.named_modules()):
            if hasattr(layer, "lora_A"):
                module.set_submodule(name, layer.base_layer)
        if hasattr(module, "peft_config"):
            del module.peft_config
    merge_layers(family, found)
    return family


def _refuse_other_shape(base: str, there: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    for name in SHAPE:
        if there[name] != asked[name]:
            flag = f"--{name.replace('_', '-')}"
            way = f"Give {flag} {there[name]}"
            if isinstance(there[name], bool):
                way = f"{'Give' if there[name] else 'Leave out'} {flag}"
            raise BadOption(
                f"{flag} {asked[name]}: {base} is a LoRA with {there[name]}. {way} to go on with it, or bake it in"
                " with `trainer merge` and begin a new one on that."
            )
