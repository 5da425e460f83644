"""A bfloat16 copy of the denoiser for training passes, beside the float32 weights.

AdamW's steps are too small for bfloat16, so weights, gradient sums and moments stay float32. Autocast would cast
weights in every pass and store normalised activations in float32; a copy, refreshed once a step, avoids both, and its
layers can be replaced (channels_last.py) and compiled.

Micikevicius et al., "Mixed precision training" (2018); Kalamkar et al., "A study of bfloat16" (2019).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn

from trainer_client.performance import channels_last

COMPONENT = "denoiser"
MOST_OF_FREE_MEMORY = 0.25  # With less memory, `auto` uses autocast without a copy.


def worth_it(wanted: str, denoiser: nn.Module, dtype: torch.dtype) -> bool:
    """Whether to make a copy: `on`, or `auto` on a GPU with enough memory."""
    if wanted == "off" or dtype == torch.float32:
        return False
    if wanted == "on":
        return True
    device = next(denoiser.parameters()).device
    if device.type != "cuda":
        return False
    free_bytes, _ = torch.cuda.mem_get_info(device)
    size_bytes = sum(weight.numel() for weight in denoiser.parameters()) * dtype.itemsize
    return size_bytes <= MOST_OF_FREE_MEMORY * free_bytes


class DenoiserCopy:
    """The copy, with pairs of its weights and the trained ones.

    Without `dtype` it shares the float32 weights. With `compiled` it keeps channels last: uncompiled that would cost
    more than it saves.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        parameters: Mapping[str, nn.Parameter],
        dtype: torch.dtype | None,
        compiled: bool = False,
    ) -> None:
        shared = {id(weight): weight for weight in denoiser.parameters()} if dtype is None else {}
        self.module = copy.deepcopy(denoiser, shared)
        if dtype is not None:
            self.module.to(dtype)
        if compiled:
            channels_last.convert(self.module)
        copies = {f"{COMPONENT}.{name}": weight for name, weight in self.module.named_parameters() if dtype is not None}
        pairs = [(weight, copies[name]) for name, weight in parameters.items() if name in copies]
        self.masters, self.copies = [master for master, _ in pairs], [weight for _, weight in pairs]

    @torch.no_grad()
    def collect(self, first: bool = False) -> None:
        """Move the copy's gradients to the float32 weights; replace old ones in a step's `first` pass."""
        pairs = zip(self.masters, self.copies, strict=True)
        graded = [(master, weight.grad) for master, weight in pairs if weight.grad is not None]
        existing = [(master.grad, gradient) for master, gradient in graded if master.grad is not None]
        if existing:
            totals, gradients = [total for total, _ in existing], [gradient for _, gradient in existing]
            if first:
                torch._foreach_copy_(totals, gradients)
            else:
                torch._foreach_add_(totals, gradients)
        for master, gradient in graded:
            if master.grad is None:
                master.grad = torch.empty_like(master).copy_(gradient)
        for weight in self.copies:
            weight.grad = None

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the float32 weights, rounded."""
        if self.copies:
            torch._foreach_copy_(list[torch.Tensor](self.copies), list[torch.Tensor](self.masters))
