"""Which fused attention a GPU uses: cuDNN's first, which on Hopper takes 0.6 times as long as torch's own.

Measured on an H100, forward and backward, bfloat16: see tests/bench/LOG.md. What cuDNN can't do goes to the next.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

HOPPER = (9, 0)  # Compute capability; on older chips torch's own is as fast.


def fused(device: torch.device) -> AbstractContextManager[Any]:
    """Round passes that hold attention."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < HOPPER:
        return nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    order = [
        SDPBackend.CUDNN_ATTENTION,
        SDPBackend.FLASH_ATTENTION,
        SDPBackend.EFFICIENT_ATTENTION,
        SDPBackend.MATH,
    ]
    return sdpa_kernel(order, set_priority=True)
