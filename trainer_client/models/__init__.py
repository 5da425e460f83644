"""Model families, one file each, chosen by `_class_name` in the base's `model_index.json`.

To add one: a class that implements `Family`, a line in `FAMILIES`, and a miniature in the conformance test.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import torch

from schemas.errors import BadDocument, BadOption
from trainer_client.models.family import Family
from trainer_client.models.weights import INDEX, locate

__all__ = ["FAMILIES", "Family", "base_digest", "family_of", "known_families", "load_family"]
FAMILIES = {  # _class_name -> module and class
    "StableDiffusionPipeline": "trainer_client.models.stable_diffusion:StableDiffusion",
    "StableDiffusionXLPipeline": "trainer_client.models.stable_diffusion_xl:StableDiffusionXL",
}


def load_family(
    base: str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    revision: str | None = None,
    resolution_px: int | None = None,
) -> Family:
    """Load a local folder in diffusers layout, or a hub name (downloaded once, then offline).

    `dtype` is the precision of passes, by default bfloat16 on a GPU and float32 on a CPU. Raise NotFound, BadDocument
    (no model_index.json), BadOption (unsupported family or resolution).
    """
    folder, device = locate(base, revision), torch.device(device)
    dtype = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
    return family_of(folder).load(folder, base, device, dtype, revision, resolution_px)


def base_digest(base: str, revision: str | None = None) -> str:
    """Return `load_family(base).digest` without loading the model."""
    folder = locate(base, revision)
    return family_of(folder).files(folder).digest


def known_families() -> dict[str, type[Family]]:
    return {name: _class(name) for name in FAMILIES}


def family_of(folder: Path) -> type[Family]:
    """Return the family of a folder. Raise BadDocument, BadOption."""
    path = folder / INDEX
    try:
        name = json.loads(path.read_bytes())["_class_name"]
    except FileNotFoundError as error:
        raise BadDocument(f"{path}: missing. A base model is a folder in diffusers layout.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadDocument(f"{path}: no `_class_name`. A base model is a folder in diffusers layout.") from error
    if name not in FAMILIES:
        raise BadOption(f"{path}: the family {name} is not supported. Supported: {', '.join(FAMILIES)}.")
    return _class(str(name))


def _class(name: str) -> type[Family]:
    module, _, kind = FAMILIES[name].partition(":")
    family: type[Family] = getattr(importlib.import_module(module), kind)
    return family
