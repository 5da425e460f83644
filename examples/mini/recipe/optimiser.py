"""AdamW with an average of the weights, on one flat vector, made to live inside a CUDA graph.

A step of a model this small is some 2,000 kernels of a few microseconds each; launched one by one they cost 100
microseconds apiece on the machine it was trained on. So all parameters are views of one bf16 vector, the fp32 master
copy, moments and average are one vector each, and the update is a dozen kernels that read their scalars from device
memory. Channels-last and `torch.compile` were tried: slower here, and not done compiling after 100 seconds.
Loshchilov and Hutter 2019 (decoupled weight decay).
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ALIGNMENT = 64
"""Elements; keeps every view on a 128-byte boundary, as fast kernels want."""


class FlatAdamW:
    """Owns the parameters of some modules; call `update()` after `backward()`."""

    def __init__(
        self,
        modules: Iterable[torch.nn.Module],
        dtype: torch.dtype,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.01,
        ema_decay: float = 0.999,
    ) -> None:
        self.parameters = [p for module in modules for p in module.parameters()]
        device = self.parameters[0].device
        sizes = [-(-p.numel() // ALIGNMENT) * ALIGNMENT for p in self.parameters]
        self.offsets = [sum(sizes[:i]) for i in range(len(sizes))]
        self.master = torch.zeros(sum(sizes), device=device)
        for view, parameter in zip(self._views(self.master), self.parameters, strict=True):
            view.copy_(parameter.data)
        self.weights = self.master.to(dtype)
        for view, parameter in zip(self._views(self.weights), self.parameters, strict=True):
            parameter.data = view
        self.average = self.master.clone()
        self.gradient, self.first, self.second = (torch.zeros_like(self.master) for _ in range(3))
        self.gradient_views = self._views(self.gradient)
        self.learning_rate = torch.zeros((), device=device)
        self.step = torch.zeros((), device=device)
        self.betas, self.weight_decay, self.ema_decay = betas, weight_decay, ema_decay

    def _views(self, flat: torch.Tensor) -> list[torch.Tensor]:
        """`flat` seen as the parameters."""
        pairs = zip(self.offsets, self.parameters, strict=True)
        return [flat[start : start + p.numel()].view(p.shape) for start, p in pairs]

    def zero_grad(self) -> None:
        """Drop gradients, so that backward writes instead of adding."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def update(self) -> None:
        """One AdamW step with the gradient's norm clipped to 1, then the running average."""
        self._gather()
        self.step += 1
        self.gradient.mul_(torch.clamp(1.0 / (self.gradient.norm() + 1e-6), max=1.0))
        b1, b2 = self.betas
        self.first.lerp_(self.gradient, 1 - b1)
        self.second.mul_(b2).addcmul_(self.gradient, self.gradient, value=1 - b2)
        scale = torch.sqrt(1 - b2**self.step) / (1 - b1**self.step)
        self.master.mul_(1 - self.learning_rate * self.weight_decay)
        direction = self.first / (self.second.sqrt() + 1e-8)
        self.master.sub_(direction.mul_(self.learning_rate * scale))
        self.weights.copy_(self.master)
        # The average starts short and grows longer, so that the random start is forgotten.
        keep = torch.clamp((1 + self.step) / (10 + self.step), max=self.ema_decay)
        self.average.lerp_(self.master, 1 - keep)

    def _gather(self) -> None:
        """Copy the gradients into the flat vector."""
        used = [(v, p.grad) for v, p in zip(self.gradient_views, self.parameters, strict=True) if p.grad is not None]
        torch._foreach_copy_([view for view, _ in used], [gradient for _, gradient in used])

    def averages(self) -> list[torch.Tensor]:
        """The running average, seen as the parameters, in their order."""
        return self._views(self.average)

    @torch.no_grad()
    def use_average(self) -> None:
        """Put the averaged weights, in fp32, into the modules; ends the training."""
        for view, parameter in zip(self._views(self.average.clone()), self.parameters, strict=True):
            parameter.grad = None
            parameter.data = view


def captured(step: Callable[[], None], device: str) -> Callable[[], None]:
    """`step` as a CUDA graph after a few warm-up calls; on a CPU, `step` itself."""
    if not device.startswith("cuda"):
        return step
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def learning_rate_at(done: float, peak: float) -> float:
    """Warm-up over the first 3%, then half a cosine to zero; `done` runs from 0 to 1."""
    return peak * min(1.0, done / 0.03) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def train_for(
    seconds: float,
    optimiser: FlatAdamW,
    step: Callable[[], None],
    peak: float,
    report: Callable[[int, float], None],
    device: str,
    block: int = 25,
    every: float = 0.2,
) -> int:
    """Repeat `step` until the time is up, the learning rate following the clock; returns the number of steps.

    `report(steps, share of the time)` is called each time another `every` of the time has passed.
    """
    start, steps, done, next_report = time.monotonic(), 0, 0.0, 0.0
    while done < 1.0:
        optimiser.learning_rate.fill_(learning_rate_at(max(done, 1e-4), peak))
        for _ in range(block):
            step()
        steps += block
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        done = (time.monotonic() - start) / seconds
        if done >= next_report:
            report(steps, done)
            next_report += every
    return steps
