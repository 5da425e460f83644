"""CUDA graphs for passes and updates, if launching kernels takes longer than running them: small or compiled models.

https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn


class TensorBatch(Protocol):
    """A dataclass of tensors with the denoiser's input."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def noisy_BCHW(self) -> Tensor:
        """Its shape is that of the batch."""

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors, by name."""


SMALL_MODEL_WEIGHTS = 300_000_000  # Larger models keep a GPU busy unless compiled, and need the memory of a graph.
WARM_UPS = 3  # So that cuDNN chooses algorithms before the recording.
B = TypeVar("B", bound=TensorBatch)


def worth_it(wanted: str, denoiser: nn.Module, compiled: bool = False) -> bool:
    """Whether to record: `on`, or `auto` for a small or compiled model on a GPU."""
    if next(denoiser.parameters()).device.type != "cuda" or wanted == "off":
        return False
    return wanted == "on" or compiled or is_small(denoiser)


def is_small(denoiser: nn.Module) -> bool:
    """Whether its kernels take less time than their launches."""
    return sum(weight.numel() for weight in denoiser.parameters()) < SMALL_MODEL_WEIGHTS


def recording(graph: torch.cuda.CUDAGraph, pool: Any = None) -> torch.cuda.graph:
    """Record this thread's kernels; other threads (NCCL's) may use the device."""
    return torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local")


class GraphedBackward(Generic[B]):
    """`backward`, recorded for each batch shape, and for first and later passes of a step.

    Gradients stay at the recorded addresses: set them to zero, never to None.
    """

    def __init__(self, backward: Callable[[B, Tensor, bool], Tensor], parameters: Sequence[nn.Parameter]) -> None:
        self.backward, self.parameters = backward, parameters
        self.recorded: dict[tuple[torch.Size, bool], tuple[torch.cuda.CUDAGraph, B, Tensor, Tensor]] = {}

    def __call__(self, batch: B, text_BTD: Tensor, first: bool) -> Tensor:
        """Return losses (B,), valid until the next call; add to the gradients."""
        signature = batch.noisy_BCHW.shape, first
        if signature not in self.recorded:
            self.recorded[signature] = self._record(batch, text_BTD, first)
        graph, static, static_text_BTD, losses_B = self.recorded[signature]
        for name, tensor in batch.tensors().items():
            getattr(static, name).copy_(tensor)
        static_text_BTD.copy_(text_BTD)
        graph.replay()
        return losses_B

    def _record(self, batch: B, text_BTD: Tensor, first: bool) -> tuple[torch.cuda.CUDAGraph, B, Tensor, Tensor]:
        static = replace(batch, **{name: tensor.clone() for name, tensor in batch.tensors().items()})
        static_text_BTD = text_BTD.clone()
        gradients = self._gradients(first)
        side_stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side_stream):
            for _ in range(WARM_UPS):
                self.backward(static, static_text_BTD, first)
        torch.cuda.current_stream().wait_stream(side_stream)
        graph = torch.cuda.CUDAGraph()
        pool = next((recorded[0].pool() for recorded in self.recorded.values()), None)
        with recording(graph, pool):
            losses_B = self.backward(static, static_text_BTD, first)
        with torch.no_grad():  # Undo the warm-ups.
            for weight, gradient in zip(self.parameters, gradients, strict=True):
                assert weight.grad is not None
                if gradient is None:
                    weight.grad.zero_()
                else:
                    weight.grad.copy_(gradient)
        return graph, static, static_text_BTD, losses_B

    def _gradients(self, first: bool) -> list[Tensor | None]:
        """Return copies of the gradients, None before a first pass; create missing ones."""
        for weight in self.parameters:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        return [None if first or weight.grad is None else weight.grad.clone() for weight in self.parameters]


class GraphedUpdate:
    """A step's update, recorded. The first call is not: it creates AdamW's state."""

    def __init__(self, move: Callable[[Tensor], None]) -> None:
        self.move = move
        self.started = False
        self.graph: torch.cuda.CUDAGraph | None = None
        self.loss_sum = torch.empty(0)

    def __call__(self, loss_sum: Tensor) -> None:
        if not self.started:
            self.started = True
            self.move(loss_sum)
            return
        if self.graph is None:
            self.loss_sum = loss_sum.clone()
            self.graph = torch.cuda.CUDAGraph()
            with recording(self.graph):
                self.move(self.loss_sum)
        self.loss_sum.copy_(loss_sum)
        self.graph.replay()


class GraphedPass:
    """A pass without gradients, recorded for each input shape."""

    def __init__(self, run: Callable[..., Tensor]) -> None:
        self.run = run
        self.recorded: dict[tuple[torch.Size, ...], tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor]] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the output, valid until the next call."""
        shapes = tuple(tensor.shape for tensor in inputs)
        if shapes not in self.recorded:
            self.recorded[shapes] = self._record(inputs)
        graph, static, output = self.recorded[shapes]
        for to, tensor in zip(static, inputs, strict=True):
            to.copy_(tensor)
        graph.replay()
        return output

    def _record(self, inputs: Sequence[Tensor]) -> tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor]:
        static = [tensor.clone() for tensor in inputs]
        side_stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side_stream):
            self.run(*static)  # Fills autocast's cache of cast weights before the recording.
        torch.cuda.current_stream().wait_stream(side_stream)
        graph = torch.cuda.CUDAGraph()
        with recording(graph):
            output = self.run(*static)
        return graph, static, output


class GraphedModule(nn.Module):
    """A module whose passes without gradients are replayed: no launch waits for Python's lock."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.recorded = GraphedPass(module)

    def forward(self, x: Tensor) -> Tensor:
        return self.recorded(x)
