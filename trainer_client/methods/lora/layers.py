"""Add LoRA layers to a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from trainer_client.models import Family
from trainer_client.randomness import keys, uniform


def add_layers(family: Family, settings: Mapping[str, Any], seed: int) -> None:
    """Add layers that don't change the output: `down` is random by seed and name, `up` is zero."""

    for component, module in family.modules.items():
        if component != "denoiser" and not settings["train_text_encoder"]:
            continue
        names = list(family.attach_points[component].targets[settings["targets"]])
        config = LoraConfig(
            r=settings["rank"], lora_alpha=settings["alpha"], target_modules=names, lora_dropout=0.0, bias="none"
        )
        with torch.random.fork_rng(devices=[]):  # peft uses the global generator; values are set again below.
            inject_adapter_in_model(config, module)
        module.eval()
    for name, weight in unfreeze_update(family).items():
        if ".lora_A." in name:
            _initialise(weight, seed, name)


def unfreeze_update(family: Family) -> dict[str, nn.Parameter]:
    """Freeze all but the update; return it by `<component>.<name>`."""
    update: dict[str, nn.Parameter] = {}
    for component, module in family.modules.items():
        for name, weight in module.named_parameters():
            in_update = ".lora_A." in name or ".lora_B." in name
            weight.requires_grad_(in_update)
            if in_update:
                update[f"{component}.{name}"] = weight
    return update


def _initialise(weight: nn.Parameter, seed: int, name: str) -> None:
    """Set uniform values in +-1/sqrt(inputs), as torch does for a linear layer."""
    bound = 1 / math.sqrt(weight[0].numel())
    values = uniform(keys(seed, "lora", 0, 0, [name], weight.device), weight.numel()).reshape(weight.shape)
    with torch.no_grad():
        weight.copy_((2 * values - 1) * bound)
