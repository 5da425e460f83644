"""LoRA: a low-rank update of the denoiser and, if asked, of the text encoders.

A checkpoint holds the update in two files: for diffusers and peft, and for A1111, Forge and ComfyUI.

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
from trainer_client.methods import freeze_unread, write_adapter
from trainer_client.methods.lora.files import layers_of, merge_layers, run_metadata, write_layouts
from trainer_client.methods.lora.layers import add_layers, unfreeze_update
from trainer_client.methods.lora.read import read_lora
from trainer_client.models import Family
from trainer_client.models.adapter import Adapter, weights_of

COPIES = 2  # A checkpoint holds the update in two layouts.
SHAPE = ("rank", "alpha", "targets", "train_text_encoder")  # Settings that can't change when a LoRA is continued.


class LoRA:
    name = "lora"

    def __init__(self, family: Family, options: Options, seed: int, run_facts: Mapping[str, str]) -> None:
        self.family, self.run_facts = family, run_facts
        self.settings = {name: getattr(options, name) for name in SHAPE}
        adapter = family.identity.adapter
        if adapter is None:
            add_layers(family, self.settings, seed)
        else:
            _refuse_other_shape(family.base, adapter.settings, self.settings)
        self.parameters = freeze_unread(family, unfreeze_update(family))
        self.encodes_text_each_step = options.train_text_encoder
        self.start: dict[str, str] = {}

    def numbers_saved(self, first: bool) -> int:
        return COPIES * sum(weight.numel() for weight in self.parameters.values())

    def save(self, folder: Path, dtype: torch.dtype, metadata: Mapping[str, str], first: Path | None) -> None:
        weights = write_layouts(self.family, self.settings, self.run_facts, folder, dtype, metadata)
        write_adapter(folder, self.name, self.family, self.settings, weights)


def begin(family: Family, config: TrainConfig) -> LoRA:
    assert isinstance(config.method, Options)
    return LoRA(family, config.method, config.augmentation.seed, run_metadata(config))


def attach(family: Family, folder: Path, adapter: Adapter) -> Family:
    """Put a checkpoint's update on its base."""
    layers = read_lora(weights_of(folder, adapter), family)
    add_layers(family, adapter.settings, seed=0)
    weights = unfreeze_update(family)
    with torch.no_grad():
        for (component, path), layer in layers.items():
            for part, tensor in (("lora_A", layer.down), ("lora_B", layer.up)):
                weights[f"{component}.{path}.{part}.default.weight"].copy_(tensor)
    for weight in weights.values():
        weight.requires_grad_(False)
    return family


def bake(family: Family) -> Family:
    """Add the update to the base's weights and remove its layers."""
    layers = layers_of(family)
    for module in family.modules.values():
        for name, layer in list(module.named_modules()):
            if hasattr(layer, "lora_A"):
                module.set_submodule(name, layer.base_layer)
        if hasattr(module, "peft_config"):
            del module.peft_config
    merge_layers(family, layers)
    return family


def _refuse_other_shape(base: str, trained: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    for name in SHAPE:
        if trained[name] != given[name]:
            flag = f"--{name.replace('_', '-')}"
            advice = f"Give {flag} {trained[name]}"
            if isinstance(trained[name], bool):
                advice = f"{'Give' if trained[name] else 'Leave out'} {flag}"
            raise BadOption(
                f"{flag} {given[name]}: {base} is a LoRA with {trained[name]}. {advice} to continue it, or bake it in"
                " with `trainer merge` and start a new LoRA on the result."
            )
