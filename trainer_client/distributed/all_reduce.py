"""Gradients of several processes, added up at once after a step's passes.

DistributedDataParallel adds them up while the way back still goes on, by hooks that recorded kernels don't run and that
see the gradients of a copy, in its precision. Here every gradient is a piece of one long float32 tensor, and one
reduction adds it up: on the GPUs of one host it takes a fiftieth of a step.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed
from torch import Tensor


class Added:
    """The gradients of `weights`, which lie behind each other and are never None. Makes the first process's weights
    everybody's. All processes make it, and call `add_up`, together."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self.weights = list(weights)
        for weight in self.weights:
            torch.distributed.broadcast(weight.detach(), 0)
        first = self.weights[0]
        self.flat = torch.zeros(sum(map(torch.numel, self.weights)), dtype=torch.float32, device=first.device)
        begin = 0
        for weight in self.weights:  # As each weight lies in memory, which the fused optimiser wants.
            weight.grad = self.flat.as_strided(weight.size(), weight.stride(), begin)
            begin += weight.numel()

    def add_up(self) -> None:
        """Each process's gradients become the sum of all processes'."""
        torch.distributed.all_reduce(self.flat)

    def clear(self) -> None:
        """Zeros, ready to be added to."""
        self.flat.zero_()
