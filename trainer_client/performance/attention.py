"""Which attention a GPU uses: cuDNN's fused one first, which on Hopper takes 0.6 times as long as torch's own; products
written out where heads are too wide for either.

Measured on an H100, forward and backward, bfloat16: see tests/bench/LOG.md. What cuDNN can't do goes to the next.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

WIDEST_HEAD = 256  # Of the fast fused kernels. The autoencoder's one head has 512 numbers.
HOPPER = (9, 0)  # Compute capability; on older chips torch's own is as fast.


def fused(device: torch.device) -> AbstractContextManager[Any]:
    """Round passes that hold attention."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < HOPPER:
        return nullcontext()

    order = [
        SDPBackend.CUDNN_ATTENTION,
        SDPBackend.FLASH_ATTENTION,
        SDPBackend.EFFICIENT_ATTENTION,
        SDPBackend.MATH,
    ]
    return sdpa_kernel(order, set_priority=True)


def write_out(module: nn.Module, wider_than: int = WIDEST_HEAD) -> None:
    """Has attention with wider heads multiply in the open, whose scores take tokens squared of memory.

    The fused kernel that is left for such heads saves that memory, and is slow.
    """
    for layer in module.modules():
        if isinstance(layer, Attention) and layer.inner_dim // layer.heads > wider_than:
            layer.set_processor(AttnProcessor())
