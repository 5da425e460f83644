"""Sum the gradients of all ranks at once, after the passes of a step.

DistributedDataParallel sums during the backward pass by hooks, which CUDA graphs don't run. Here gradients are views of
one float32 tensor, and one reduction sums it: on the GPUs of one host that takes a fiftieth of a step.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed
from torch import Tensor


class FlatGradients:
    """Gradients of `weights` in one tensor, never None. Copies rank 0's weights to all ranks.

    All ranks create it, and call `all_reduce`, together.
    """

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self.weights = list(weights)
        for weight in self.weights:
            torch.distributed.broadcast(weight.detach(), 0)
        first = self.weights[0]
        self.flat = torch.zeros(sum(map(torch.numel, self.weights)), dtype=torch.float32, device=first.device)
        begin = 0
        for weight in self.weights:  # In the layout of the weight, which the fused optimiser needs.
            weight.grad = self.flat.as_strided(weight.size(), weight.stride(), begin)
            begin += weight.numel()

    def all_reduce(self) -> None:
        torch.distributed.all_reduce(self.flat)

    def zero(self) -> None:
        self.flat.zero_()
