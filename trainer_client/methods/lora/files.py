"""Write LoRA files, and merge updates into weights.

diffusers and peft: `unet.<module>.lora_A.weight` (rank, inputs), `lora_B` (outputs, rank), rank and alpha in the
header. A1111, Forge, ComfyUI and kohya's tools: `lora_unet_<module>.lora_down.weight`, `.lora_up.weight`, `.alpha`,
settings in the header as `ss_*`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from trainer_client.config import TrainConfig
from trainer_client.methods.lora.names import diffusers_path, flat_name
from trainer_client.models import Family
from trainer_client.models.weights import in_order

DIFFUSERS_FILE = "pytorch_lora_weights.safetensors"  # The name `load_lora_weights` looks for in a folder.
LayerKey = tuple[str, str]  # (component, path of the module)


@dataclass(frozen=True)
class Layer:
    """The update of one layer's weight: `scale` x `up` @ `down`."""

    down: Tensor  # (rank, inputs) or (rank, inputs, rows, columns)
    up: Tensor  # (outputs, rank) or (outputs, rank, 1, 1)
    alpha: float

    @property
    def scale(self) -> float:
        return self.alpha / self.down.shape[0]

    def delta(self, shape: torch.Size) -> Tensor:
        """Return the update for a weight of this shape, float32."""
        return (self.up.flatten(1).float() @ self.down.flatten(1).float()).view(shape) * self.scale


def layers_of(family: Family) -> dict[LayerKey, Layer]:
    layers: dict[LayerKey, Layer] = {}
    for component, module in family.modules.items():
        for path, layer in module.named_modules():
            if hasattr(layer, "lora_A"):
                down, up = (getattr(layer, part)["default"].weight.detach() for part in ("lora_A", "lora_B"))
                layers[component, path] = Layer(down, up, float(layer.lora_alpha["default"]))
    return layers


def write_layouts(
    family: Family,
    settings: Mapping[str, Any],
    run_facts: Mapping[str, str],
    folder: Path,
    dtype: torch.dtype,
    metadata: Mapping[str, str],
) -> Path:
    """Write both files; return the diffusers one, which is read back.

    `run_facts` comes from `run_metadata`; `metadata` is the lineage.
    """
    folder.mkdir(parents=True, exist_ok=True)
    layers = layers_of(family)
    path = folder / DIFFUSERS_FILE
    header = {
        "format": "pt",
        "lora_adapter_metadata": json.dumps(peft_metadata(family, layers, settings), sort_keys=True),
    }
    _write(path, diffusers_tensors(family, layers, dtype), header | dict(metadata))
    tensors = flat_tensors(family, layers, dtype)
    name = f"{metadata['amatl.run']}-{int(metadata['amatl.epoch']):03d}"
    shown = {**ss_metadata(family, metadata, name, tensors), **run_facts, **metadata}
    _write(folder / f"{name}.safetensors", tensors, shown)
    return path


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    path.write_bytes(in_order(save(tensors, metadata=metadata)))


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.detach().to(device="cpu", dtype=dtype).contiguous()


def diffusers_tensors(family: Family, layers: Mapping[LayerKey, Layer], dtype: torch.dtype) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for (component, path), layer in layers.items():
        name = diffusers_path(family, component, path)
        tensors[f"{name}.lora_A.weight"] = _cast(layer.down, dtype)
        tensors[f"{name}.lora_B.weight"] = _cast(layer.up, dtype)
    return tensors


def flat_tensors(family: Family, layers: Mapping[LayerKey, Layer], dtype: torch.dtype) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for (component, path), layer in layers.items():
        name = flat_name(family, component, path)
        tensors[f"{name}.lora_down.weight"] = _cast(layer.down, dtype)
        tensors[f"{name}.lora_up.weight"] = _cast(layer.up, dtype)
        tensors[f"{name}.alpha"] = torch.tensor(layer.alpha, dtype=dtype)
    return tensors


def peft_metadata(family: Family, layers: Mapping[LayerKey, Layer], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the LoraConfig of each component: without it, alpha would be taken to be the rank."""
    settings_by_prefix: dict[str, Any] = {}
    for component in dict.fromkeys(component for component, _ in layers):
        point = family.attach_points[component]
        names = list(point.targets[settings["targets"]])
        peft_settings = {
            "r": settings["rank"],
            "lora_alpha": settings["alpha"],
            "target_modules": names,
            "lora_dropout": 0.0,
        }
        settings_by_prefix |= {f"{point.prefix}.{name}": value for name, value in peft_settings.items()}
    return settings_by_prefix


def run_metadata(config: TrainConfig) -> dict[str, str]:
    """Return training settings by the names that other programs show."""
    options = config.flat()
    rate = options["learning_rate"]
    return {
        "ss_network_dim": str(options["rank"]),
        "ss_network_alpha": str(options["alpha"]),
        "ss_learning_rate": str(rate),
        "ss_unet_lr": str(rate),
        "ss_text_encoder_lr": str(rate if options["train_text_encoder"] else 0.0),
        "ss_lr_scheduler": options["lr_schedule"],
        "ss_num_epochs": str(options["epochs"]),
        "ss_batch_size_per_device": str(options["batch_size"]),
        "ss_gradient_accumulation_steps": str(options["accumulation"]),
        "ss_seed": str(options["seed"]),
        "ss_min_snr_gamma": str(options["min_snr_gamma"]),
        "ss_caption_dropout_rate": str(options["caption_dropout"]),
        "ss_noise_offset": str(options["offset_noise"] or None),
        "ss_enable_bucket": str(options["buckets"]),
        "ss_clip_skip": str(options["clip_skip"]),
        "ss_max_token_length": str(options["max_tokens"]),
        "ss_zero_terminal_snr": str(options["zero_terminal_snr"]),
    }


def ss_metadata(family: Family, lineage: Mapping[str, str], name: str, tensors: dict[str, Tensor]) -> dict[str, str]:
    """Return metadata that other programs show, or use to identify the base."""
    version, architecture = family.file_versions
    content = save(tensors)
    data = content[8 + int.from_bytes(content[:8], "little") :]
    return {
        "ss_output_name": name,
        "ss_base_model_version": version,
        "ss_v2": str(version.startswith("sd_v2")),
        "ss_v_parameterization": str(family.prediction == "v_prediction"),
        "ss_sd_model_name": family.base,
        "ss_network_module": "networks.lora",
        "ss_network_dropout": "0.0",
        "ss_optimizer": "AdamW",
        "ss_resolution": f"({family.resolution_px}, {family.resolution_px})",
        "ss_num_train_images": lineage.get("amatl.images", "0"),
        "ss_epoch": lineage["amatl.epoch"],
        "sshs_model_hash": hashlib.sha256(data).hexdigest(),
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": architecture,
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
        "modelspec.title": name,
        "modelspec.resolution": f"{family.resolution_px}x{family.resolution_px}",
        "modelspec.prediction_type": "v" if family.prediction == "v_prediction" else "epsilon",
    }


@torch.no_grad()
def merge_layers(family: Family, layers: Mapping[LayerKey, Layer], strength: float = 1.0) -> None:
    modules = family.modules
    for (component, path), layer in layers.items():
        weight = modules[component].get_submodule(path).weight
        assert isinstance(weight, torch.Tensor)
        weight += strength * layer.delta(weight.shape).to(weight.device)
