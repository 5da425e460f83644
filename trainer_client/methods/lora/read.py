"""Read LoRA files, ours and others.

Supported: plain LoRAs of linear layers and convolutions (LoCon), in the layouts of diffusers (before and after peft),
kohya's tools, A1111, Forge and ComfyUI. An unknown tensor or layer is an error.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from schemas.errors import BadDocument, NotFound
from trainer_client.methods.lora.files import Layer, LayerKey
from trainer_client.methods.lora.names import diffusers_path, flat_name
from trainer_client.models import Family

MAX_NAMES = 3
PARTS = {
    "lora_down.weight": "down",
    "lora_up.weight": "up",
    "alpha": "alpha",
    "lora_A.weight": "down",
    "lora_B.weight": "up",
    "lora.down.weight": "down",
    "lora.up.weight": "up",
    "lora_linear_layer.down.weight": "down",
    "lora_linear_layer.up.weight": "up",
}
# diffusers in 2023: the update belonged to an attention layer's processor.
PROCESSOR_KEY = re.compile(r"(.+?)(?:\.processor)?\.to_(q|k|v|out)_lora\.(down|up)\.weight")
TEXT_LAYERS = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": "out_proj"}
DENOISER_LAYERS = {"q": "to_q", "k": "to_k", "v": "to_v", "out": "to_out.0"}
Header = Mapping[str, Any]


class WrongBase(BadDocument):
    """This LoRA was trained on a model of another shape."""


def read_lora(path: Path, family: Family) -> dict[LayerKey, Layer]:
    """Return the layers of a file in any layout. Raise NotFound, BadDocument, WrongBase."""
    tensors, header = _read(path)
    by_prefix: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, part = _split(key, path)
        by_prefix.setdefault(name, {})[part] = tensor
    if not by_prefix:
        raise BadDocument(f"{path}: the file is empty. Copy it again from its source.")
    layers_by_name = _layers_by_name(family)
    _refuse_unknown(path, family, [name for name in by_prefix if name not in layers_by_name], len(by_prefix))
    settings = _peft_settings(path, header)
    return {
        layers_by_name[name][0]: _layer(path, family, name, parts, layers_by_name[name], settings)
        for name, parts in by_prefix.items()
    }


def _refuse_unknown(path: Path, family: Family, unknown: list[str], count: int) -> None:
    if unknown:
        raise WrongBase(
            f"{path}: {len(unknown)} of its {count} layers aren't in {family.base}"
            f" ({', '.join(unknown[:MAX_NAMES])}{', ...' if len(unknown) > MAX_NAMES else ''}). Give the base that"
            " it was trained on."
        )


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise NotFound(f"{path}: there is no such file. Give a LoRA's .safetensors file, or a run's folder.")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise BadDocument(f"{path}: can't be read ({error}). Copy it again from its source.") from error


def _split(key: str, path: Path) -> tuple[str, str]:
    """Return (layer name, part)."""
    if old := PROCESSOR_KEY.fullmatch(key):
        names = TEXT_LAYERS if key.startswith("text_encoder") else DENOISER_LAYERS
        return f"{old[1]}.{names[old[2]]}", old[3]
    for ending, part in PARTS.items():
        if key.endswith(f".{ending}"):
            return key.removesuffix(f".{ending}"), part
    raise BadDocument(f"{path}: {key} is not part of a plain LoRA (LoHa, LoKr, DoRA?). Only plain LoRAs are supported.")


def _layers_by_name(family: Family) -> dict[str, tuple[LayerKey, torch.Size]]:
    """Return key and weight shape by every name that a layer may have."""
    layers: dict[str, tuple[LayerKey, torch.Size]] = {}
    for component, module in family.modules.items():
        for path, layer in module.named_modules():
            weight = getattr(layer, "weight", None)
            if isinstance(weight, torch.Tensor) and weight.dim() in (2, 4):
                entry = ((component, path), weight.shape)
                layers[diffusers_path(family, component, path)] = entry
                layers[f"{family.attach_points[component].prefix}.{path}"] = entry
                layers[flat_name(family, component, path)] = entry
                layers[flat_name(family, component, path, original=False)] = entry
    return layers


def _layer(
    path: Path,
    family: Family,
    name: str,
    parts: dict[str, Tensor],
    entry: tuple[LayerKey, torch.Size],
    settings: Header,
) -> Layer:
    layer_key, shape = entry
    if "down" not in parts or "up" not in parts:
        raise BadDocument(f"{path}: one half of {name} is missing. Copy the file again from its source.")
    if not all(tensor.isfinite().all() for tensor in parts.values()):
        raise BadDocument(f"{path}: {name} contains NaN or infinity. Use an earlier checkpoint.")
    down, up = parts["down"], parts["up"]
    rank = down.shape[0]
    fits = down[0].numel() == shape[1:].numel() and up.shape[0] == shape[0] and up.shape[1] == rank
    if not fits:
        raise WrongBase(
            f"{path}: its {name} is {tuple(up.shape)} x {tuple(down.shape)}, that layer of {family.base} is"
            f" {tuple(shape)}. Give the base that it was trained on."
        )
    return Layer(down, up, float(parts["alpha"]) if "alpha" in parts else _alpha(family, settings, layer_key, rank))


def _peft_settings(path: Path, header: Mapping[str, str]) -> Header:
    """Return peft's settings in the header, by component and name: `unet.lora_alpha`. Raise BadDocument."""
    try:
        settings = json.loads(header.get("lora_adapter_metadata") or "{}")
    except ValueError as error:
        raise BadDocument(f"{path}: the settings in its header can't be read ({error}). Copy it again.") from error
    if not isinstance(settings, dict):
        raise BadDocument(f"{path}: the settings in its header are not a JSON object. Copy it again.")
    if any(value for name, value in settings.items() if name.endswith(".use_dora")):
        raise BadDocument(f"{path}: a DoRA. Only plain LoRAs are supported.")
    return settings


def _alpha(family: Family, settings: Header, layer_key: LayerKey, rank: int) -> float:
    """Return alpha: of a matching pattern in peft's settings, else of the component, else the rank.

    Rank-stabilised updates are scaled by alpha / sqrt(rank): return alpha x sqrt(rank).
    """
    component, layer = layer_key
    prefix = family.attach_points[component].prefix
    patterns = settings.get(f"{prefix}.alpha_pattern") or {}
    pattern_alpha = next((patterns[key] for key in patterns if re.match(rf"(.*\.)?({key})$", layer)), None)
    alpha = float(settings.get(f"{prefix}.lora_alpha", rank) if pattern_alpha is None else pattern_alpha)
    return alpha * math.sqrt(rank) if settings.get(f"{prefix}.use_rslora") else alpha
