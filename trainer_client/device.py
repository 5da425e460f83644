"""The device and precision of a command."""

from __future__ import annotations

import platform

import torch

from schemas.edge.words import plural
from schemas.errors import BadOption


def choose_device(device: str = "auto", precision: str = "auto") -> tuple[torch.device, torch.dtype]:
    """Return device and dtype; `auto` is a GPU in bfloat16 if available, else the CPU in float32. Raise BadOption."""
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        chosen = torch.device(name)
        torch.empty(0, device=chosen)
        if chosen.type == "cuda" and chosen.index is not None:
            torch.cuda.set_device(chosen)  # CUDA graphs record on the current device, not on that of their tensors.
    except (RuntimeError, AssertionError) as error:
        raise BadOption(f"--device {device}: not on this machine. Use auto, cpu, cuda or cuda:N.") from error
    dtypes = {"bf16": torch.bfloat16, "fp32": torch.float32}
    if precision == "auto":
        return chosen, torch.float32 if chosen.type == "cpu" else torch.bfloat16
    if precision not in dtypes:
        raise BadOption(f"--precision {precision}: use auto, bf16 or fp32.")
    return chosen, dtypes[precision]


def device_name(device: torch.device) -> str:
    """Return the GPU's name, or the processor and torch's threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}, {plural(torch.get_num_threads(), 'thread')})"


def synchronise(device: torch.device) -> None:
    """Wait for queued work, so that timings are right."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
