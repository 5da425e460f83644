"""LoRA layers inside a model: where they go, how they begin, how they are read back."""

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
    """Adds layers that change nothing yet: `down` is drawn from the seed and the layer's name, `up` is zero."""

    for component, module in family.modules.items():
        if component != "denoiser" and not settings["train_text_encoder"]:
            continue
        names = list(family.attach_points[component].targets[settings["targets"]])
        config = LoraConfig(
            r=settings["rank"], lora_alpha=settings["alpha"], target_modules=names, lora_dropout=0.0, bias="none"
        )
        with torch.random.fork_rng(devices=[]):  # peft draws what is drawn anew below.
            inject_adapter_in_model(config, module)
        module.eval()
    for name, weight in _update(family).items():
        if ".lora_A." in name:
            _draw(weight, seed, name)


def _update(family: Family) -> dict[str, nn.Parameter]:
    """The update's parameters by `<component>.<name>`, freed; everything else frozen."""
    found: dict[str, nn.Parameter] = {}
    for component, module in family.modules.items():
        for name, weight in module.named_parameters():
            in_update = ".lora_A." in name or ".lora_B." in name
            weight.requires_grad_(in_update)
            if in_update:
                found[f"{component}.{name}"] = weight
    return found


def _draw(weight: nn.Parameter, seed: int, name: str) -> None:
    """Uniform in +-1/sqrt(inputs), as torch initialises a linear layer; a function of seed and name alone."""
    bound = 1 / math.sqrt(weight[0].numel())
    drawn = uniform(keys(seed, "lora", 0, 0, [name], weight.device), weight.numel()).reshape(weight.shape)
    with torch.no_grad():
        weight.copy_((2 * drawn - 1) * bound)
