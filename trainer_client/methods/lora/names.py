"""Layer names in LoRA files.

Flat names join a module's path by underscores after the component's prefix. SDXL uses paths of the original model
(`input_blocks_4_1_...`), which A1111, Forge, ComfyUI and diffusers all read.
"""

from __future__ import annotations

from trainer_client.models import Family


def diffusers_path(family: Family, component: str, path: str) -> str:
    """Return `unet.<path>`, `text_encoder.text_model.<path>`."""
    point = family.attach_points[component]
    return f"{point.prefix}.{point.full_path(path)}"


def flat_name(family: Family, component: str, path: str, original: bool = True) -> str:
    """Return `lora_unet_<path>`, `lora_te_text_model_<path>`; `original` for the original model's paths."""
    point = family.attach_points[component]
    path = family.flat_path(component, path) if original else path
    return f"{point.flat_prefix}_{point.full_path(path).replace('.', '_')}"
