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
from typing import TYPE_CHECKING

import torch

from trainer_client.performance import channels_last

if TYPE_CHECKING:
    from torch import nn

    from trainer_client.models import Family

COMPONENT = "denoiser"
MOST_OF_FREE_MEMORY = 0.25  # What `auto` lets a copy take; where memory is scarce, autocast goes without.


def worth_it(wanted: str, family: Family) -> bool:
    """Whether to make one: `on`, or `auto` on a GPU that has the room; never where passes are float32 anyway."""
    if wanted == "off" or family.dtype == torch.float32:
        return False
    if wanted == "on":
        return True
    if family.device.type != "cuda":
        return False
    free_bytes, _ = torch.cuda.mem_get_info(family.device)
    size_bytes = sum(weight.numel() for weight in family.denoiser.parameters()) * family.dtype.itemsize
    return size_bytes <= MOST_OF_FREE_MEMORY * free_bytes


class Working:
    """The copy, and which of its weights follow which of `parameters`.

    Without `rounded` it shares the float32 weights themselves. With `compiled` its layers keep channels last: unfused
    that would cost more than it saves.
    """

    def __init__(
        self, family: Family, parameters: Mapping[str, nn.Parameter], rounded: bool = True, compiled: bool = False
    ) -> None:
        weights = family.denoiser.parameters()
        self.module = copy.deepcopy(family.denoiser, {} if rounded else {id(weight): weight for weight in weights})
        if rounded:
            self.module.to(family.dtype)
        if compiled:
            channels_last.keep(self.module)
        own = {f"{COMPONENT}.{name}": weight for name, weight in self.module.named_parameters() if rounded}
        pairs = [(weight, own[name]) for name, weight in parameters.items() if name in own]
        self.masters, self.copies = [master for master, _ in pairs], [weight for _, weight in pairs]
        family.wrapped[COMPONENT] = self.module

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
