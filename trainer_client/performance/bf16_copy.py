"""A bfloat16 copy of the denoiser that training's passes go through, beside the float32 weights that learn.

AdamW's steps are too small for bfloat16 to hold, so the weights, their gradients' sums and both moments stay float32.
The passes only read bfloat16: under autocast every layer casts its weights in every pass, and keeps what its
normalisation gave in float32 for the way back. With a copy, refreshed once a step, neither is there; and its layers
can be exchanged (channels_last.py) and compiled, while the weights themselves stay as the base has them.

Micikevicius et al., "Mixed precision training" (2018); Kalamkar et al., "A study of bfloat16" (2019).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn

from trainer_client.performance import channels_last

COMPONENT = "denoiser"
MOST_OF_FREE_MEMORY = 0.25  # What `auto` lets a copy take; where memory is scarce, autocast goes without.


def worth_it(wanted: str, denoiser: nn.Module, dtype: torch.dtype) -> bool:
    """Whether to make one: `on`, or `auto` on a GPU that has the room; never if passes are float32 anyway."""
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


class Working:
    """The copy, and which of its weights follow which of `parameters`.

    Rounded to `dtype`, or without one sharing the float32 weights themselves. With `compiled` its layers keep channels
    last: unfused that would cost more than it saves.
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
            channels_last.keep(self.module)
        own = {f"{COMPONENT}.{name}": weight for name, weight in self.module.named_parameters() if dtype is not None}
        pairs = [(weight, own[name]) for name, weight in parameters.items() if name in own]
        self.masters, self.copies = [master for master, _ in pairs], [weight for _, weight in pairs]

    @torch.no_grad()
    def collect(self, first: bool = False) -> None:
        """Adds the copy's gradients to the float32 weights', and leaves none behind. What is there before the `first`
        passes of a step counts nothing."""
        there = [(master, weight.grad) for master, weight in self._pairs() if weight.grad is not None]
        begun = [(master.grad, gradient) for master, gradient in there if master.grad is not None]
        if begun:
            totals, gradients = [total for total, _ in begun], [gradient for _, gradient in begun]
            if first:
                torch._foreach_copy_(totals, gradients)
            else:
                torch._foreach_add_(totals, gradients)
        for master, gradient in there:
            if master.grad is None:
                master.grad = torch.empty_like(master).copy_(gradient)
        for weight in self.copies:
            weight.grad = None

    @torch.no_grad()
    def refresh(self) -> None:
        """The float32 weights as they are now, rounded."""
        if self.copies:
            torch._foreach_copy_(list[torch.Tensor](self.copies), list[torch.Tensor](self.masters))

    def _pairs(self) -> zip[tuple[nn.Parameter, nn.Parameter]]:
        return zip(self.masters, self.copies, strict=True)
