"""Choose the device and the dtype of the weights by the options `device` and `dtype`."""

from __future__ import annotations

import torch

from schemas.errors import BadOption

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(wanted: str, mps: bool = True) -> torch.device:
    """Return the device. `auto`: CUDA, else MPS if `mps`, else the CPU. Raises BadOption if it is unavailable."""
    if wanted == "auto":
        other = "mps" if mps and torch.backends.mps.is_available() else "cpu"
        wanted = "cuda" if torch.cuda.is_available() else other
    try:
        return torch.empty(0, device=wanted).device
    except (RuntimeError, AssertionError) as error:
        raise BadOption(f"-o device={wanted}: not on this machine ({str(error).partition(chr(10))[0]}).") from None


def choose_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """Return the dtype. `auto`: bfloat16 on a CUDA GPU that supports it, float16 on older ones, float32 elsewhere."""
    if wanted != "auto":
        return DTYPES[wanted]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
