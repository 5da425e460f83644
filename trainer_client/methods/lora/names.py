"""What a layer is called in a LoRA file, by each of the two conventions, in a family's own words (its attach points).

The flattened convention joins a module's path by underscores under a prefix for its component. For SD 1.x and 2.x the
path is the diffusers one; for SDXL that of the original model (`input_blocks_4_1_...`), by which A1111, Forge, ComfyUI
and diffusers all find it.
"""

from __future__ import annotations

from trainer_client.models import Family


def diffusers_path(family: Family, component: str, path: str) -> str:
    """`unet.<path>`, `text_encoder.text_model.<path>`."""
    point = family.attach_points[component]
    return f"{point.prefix}.{point.full_path(path)}"


def flat_name(family: Family, component: str, path: str, original: bool = True) -> str:
    """`lora_unet_<path>`, `lora_te_text_model_<path>`; by the original model's names, unless `original` is off."""
    point = family.attach_points[component]
    path = family.flat_path(component, path) if original else path
    return f"{point.flat_prefix}_{point.full_path(path).replace('.', '_')}"
