"""LoRA files read, ours and those of others: which layer of a model each of their tensors changes, and by how much.

Read are plain LoRAs, of linear layers and of convolutions (LoCon), in the layouts of diffusers and peft, of kohya's
tools, A1111, Forge and ComfyUI, and in those that diffusers wrote before it used peft. Nothing of a file is left out in
silence: what isn't understood or has no place in the model is an error.
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
from trainer_client.methods.lora.files import Layer, Place
from trainer_client.methods.lora.names import diffusers_path, flat_name
from trainer_client.models import Family

SHOWN = 3  # Names in an error.
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
# As diffusers wrote them in 2023, when an update belonged to an attention layer's processor.
OF_PROCESSOR = re.compile(r"(.+?)(?:\.processor)?\.to_(q|k|v|out)_lora\.(down|up)\.weight")
OF_TEXT = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": "out_proj"}
OF_DENOISER = {"q": "to_q", "k": "to_k", "v": "to_v", "out": "to_out.0"}
Header = Mapping[str, Any]


class WrongBase(BadDocument):
    """This LoRA was trained on a model of another shape."""


def read_lora(path: Path, family: Family) -> dict[Place, Layer]:
    """The layers of a file in any layout, for this family. Raises NotFound, BadDocument, WrongBase."""
    tensors, header = _read(path)
    by_prefix: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, part = _split(key, path)
        by_prefix.setdefault(name, {})[part] = tensor
    if not by_prefix:
        raise BadDocument(f"{path}: there is nothing in it. Copy it again from where it came.")
    places = _places(family)
    _refuse_unknown(path, family, [name for name in by_prefix if name not in places], len(by_prefix))
    told = _told(path, header)
    return {places[name][0]: _layer(path, family, name, parts, places[name], told) for name, parts in by_prefix.items()}


def _refuse_unknown(path: Path, family: Family, unknown: list[str], count: int) -> None:
    if unknown:
        raise WrongBase(
            f"{path}: {len(unknown)} of its {count} layers aren't in {family.base}"
            f" ({', '.join(unknown[:SHOWN])}{', ...' if len(unknown) > SHOWN else ''}). Give the base it was"
            " trained on."
        )


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise NotFound(f"{path}: there is no such file. Give a LoRA's .safetensors file, or a run's folder.")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise BadDocument(f"{path}: can't be read ({error}). Copy it again from where it came.") from error


def _split(key: str, path: Path) -> tuple[str, str]:
    """(the layer's name, which part of it) of a tensor's name."""
    if old := OF_PROCESSOR.fullmatch(key):
        names = OF_TEXT if key.startswith("text_encoder") else OF_DENOISER
        return f"{old[1]}.{names[old[2]]}", old[3]
    for ending, part in PARTS.items():
        if key.endswith(f".{ending}"):
            return key.removesuffix(f".{ending}"), part
    raise BadDocument(f"{path}: {key} is no part of a plain LoRA (LoHa, LoKr, DoRA?). Only plain ones can be read.")


def _places(family: Family) -> dict[str, tuple[Place, torch.Size]]:
    """Every name a layer may have, in any layout, with the layer's place and its weight's shape."""
    found: dict[str, tuple[Place, torch.Size]] = {}
    for component, module in family.modules.items():
        for path, layer in module.named_modules():
            weight = getattr(layer, "weight", None)
            if isinstance(weight, torch.Tensor) and weight.dim() in (2, 4):
                entry = ((component, path), weight.shape)
                found[diffusers_path(family, component, path)] = entry
                found[f"{family.attach_points[component].prefix}.{path}"] = entry
                found[flat_name(family, component, path)] = entry
                found[flat_name(family, component, path, original=False)] = entry
    return found


def _layer(
    path: Path,
    family: Family,
    name: str,
    parts: dict[str, Tensor],
    entry: tuple[Place, torch.Size],
    told: Header,
) -> Layer:
    place, shape = entry
    if "down" not in parts or "up" not in parts:
        raise BadDocument(f"{path}: of {name} one half is missing. Copy the file again from where it came.")
    if not all(tensor.isfinite().all() for tensor in parts.values()):
        raise BadDocument(f"{path}: {name} holds values that are no numbers. Take an earlier checkpoint of it.")
    down, up = parts["down"], parts["up"]
    rank = down.shape[0]
    fits = down[0].numel() == shape[1:].numel() and up.shape[0] == shape[0] and up.shape[1] == rank
    if not fits:
        raise WrongBase(
            f"{path}: its {name} is {tuple(up.shape)} x {tuple(down.shape)}, that layer of {family.base} is"
            f" {tuple(shape)}. Give the base it was trained on."
        )
    return Layer(down, up, float(parts["alpha"]) if "alpha" in parts else _alpha(family, told, place, rank))


def _told(path: Path, header: Mapping[str, str]) -> Header:
    """What peft's settings in the header say, by component and name: `unet.lora_alpha`. Raises BadDocument."""
    try:
        told = json.loads(header.get("lora_adapter_metadata") or "{}")
    except ValueError as error:
        raise BadDocument(f"{path}: the settings in its header can't be read ({error}). Copy it again.") from error
    if not isinstance(told, dict):
        raise BadDocument(f"{path}: the settings in its header are no settings. Copy it again.")
    if any(value for name, value in told.items() if name.endswith(".use_dora")):
        raise BadDocument(f"{path}: a DoRA. Only plain LoRAs can be read.")
    return told


def _alpha(family: Family, told: Header, place: Place, rank: int) -> float:
    """A layer's alpha: its own where peft has one for it (a pattern of its path), else its component's, else the rank.

    Rank-stabilised updates count alpha / sqrt(rank): as alpha x sqrt(rank) they count as any other.
    """
    component, layer = place
    prefix = family.attach_points[component].prefix
    patterns = told.get(f"{prefix}.alpha_pattern") or {}
    own = next((patterns[key] for key in patterns if re.match(rf"(.*\.)?({key})$", layer)), None)
    alpha = float(told.get(f"{prefix}.lora_alpha", rank) if own is None else own)
    return alpha * math.sqrt(rank) if told.get(f"{prefix}.use_rslora") else alpha
