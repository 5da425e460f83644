"""Attention kernels: cuDNN's first, which on Hopper takes 0.6 times as long as torch's; unfused for very wide heads.

Measured on an H100, forward and backward, bfloat16: see tests/bench/LOG.md.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

WIDEST_HEAD = 256  # Limit of the fast fused kernels. The autoencoder's head has 512.
HOPPER = (9, 0)  # Compute capability; on older GPUs torch's own kernel is as fast.


def fused(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context for passes with attention."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < HOPPER:
        return nullcontext()
    order = [
        SDPBackend.CUDNN_ATTENTION,
        SDPBackend.FLASH_ATTENTION,
        SDPBackend.EFFICIENT_ATTENTION,
        SDPBackend.MATH,
    ]
    return sdpa_kernel(order, set_priority=True)


def use_unfused_attention(module: nn.Module, wider_than: int = WIDEST_HEAD) -> None:
    """Use unfused attention for wider heads, with memory for tokens squared: their fused kernel is slow."""
    for layer in module.modules():
        if isinstance(layer, Attention) and layer.inner_dim // layer.heads > wider_than:
            layer.set_processor(AttnProcessor())
