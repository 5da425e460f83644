"""A step as CUDA graphs: a batch's passes one, the update another. Where launching a kernel takes longer than running
it (a small model, compiled blocks on a fast GPU) this decides. The arithmetic is the same; only the launches are
recorded once and replayed.

https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn


class Batch(Protocol):
    """A dataclass of tensors, one of which is what the denoiser is given."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def noisy_BCHW(self) -> Tensor:
        """Its shape is the batch's."""

    def tensors(self) -> dict[str, Tensor]:
        """All tensors, by name."""


SMALL_MODEL_WEIGHTS = 300_000_000  # Larger ones keep a GPU busy unless compiled, and need the memory a graph holds.
WARM_UPS = 3  # Lets cuDNN choose its algorithms outside the recording.
B = TypeVar("B", bound=Batch)


def worth_it(wanted: str, denoiser: nn.Module, compiled: bool = False) -> bool:
    """Whether to record: `on`, or `auto` for a small model or a compiled one; never off a GPU."""
    if next(denoiser.parameters()).device.type != "cuda" or wanted == "off":
        return False
    return wanted == "on" or compiled or is_small(denoiser)


def is_small(denoiser: nn.Module) -> bool:
    """Whether its kernels take less time than their launches."""
    return sum(weight.numel() for weight in denoiser.parameters()) < SMALL_MODEL_WEIGHTS


def recording(graph: torch.cuda.CUDAGraph, pool: Any = None) -> torch.cuda.graph:
    """While entered, this thread's kernels are recorded; what other threads ask the device is theirs (NCCL's does)."""
    return torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local")


class Graphed(Generic[B]):
    """`backward` recorded once for each shape of a batch there is (the full one and the epoch's last), and for a step's
    first and later passes, and replayed.

    Gradients are kept where the recording has them: set them to zero, never to None.
    """

    def __init__(self, backward: Callable[[B, Tensor, bool], Tensor], parameters: Sequence[nn.Parameter]) -> None:
        self.backward, self.parameters = backward, parameters
        self.recorded: dict[tuple[torch.Size, bool], tuple[torch.cuda.CUDAGraph, B, Tensor, Tensor]] = {}

    def __call__(self, drawn: B, text_BTD: Tensor, first: bool) -> Tensor:
        """The losses (B,), good until the next call; their gradients are added to the parameters'."""
        kind = drawn.noisy_BCHW.shape, first
        if kind not in self.recorded:
            self.recorded[kind] = self._record(drawn, text_BTD, first)
        graph, static, static_text_BTD, losses_B = self.recorded[kind]
        for name, tensor in drawn.tensors().items():
            getattr(static, name).copy_(tensor)
        static_text_BTD.copy_(text_BTD)
        graph.replay()
        return losses_B

    def _record(self, drawn: B, text_BTD: Tensor, first: bool) -> tuple[torch.cuda.CUDAGraph, B, Tensor, Tensor]:
        static = replace(drawn, **{name: tensor.clone() for name, tensor in drawn.tensors().items()})
        static_text_BTD = text_BTD.clone()
        kept = self._gradients(first)
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                self.backward(static, static_text_BTD, first)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        pool = next((recorded[0].pool() for recorded in self.recorded.values()), None)
        with recording(graph, pool):
            losses_B = self.backward(static, static_text_BTD, first)
        with torch.no_grad():  # Undoes what the warm-ups added.
            for weight, gradient in zip(self.parameters, kept, strict=True):
                assert weight.grad is not None
                if gradient is None:
                    weight.grad.zero_()
                else:
                    weight.grad.copy_(gradient)
        return graph, static, static_text_BTD, losses_B

    def _gradients(self, first: bool) -> list[Tensor | None]:
        """A copy of the present gradients, which before a step's first passes are zeros; makes those not yet there."""
        for weight in self.parameters:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        return [None if first or weight.grad is None else weight.grad.clone() for weight in self.parameters]


class GraphedUpdate:
    """What a step does after its passes, recorded and replayed. The first call isn't: it makes AdamW's state."""

    def __init__(self, move: Callable[[Tensor], None]) -> None:
        self.move = move
        self.began = False
        self.graph: torch.cuda.CUDAGraph | None = None
        self.loss_sum = torch.empty(0)

    def __call__(self, loss_sum: Tensor) -> None:
        if not self.began:
            self.began = True
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
    """A pass without gradients, recorded once for each shape of its inputs and replayed."""

    def __init__(self, run: Callable[..., Tensor]) -> None:
        self.run = run
        self.recorded: dict[tuple[torch.Size, ...], tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor]] = {}

    def __call__(self, *given: Tensor) -> Tensor:
        """What the pass gives, good until the next call."""
        shapes = tuple(tensor.shape for tensor in given)
        if shapes not in self.recorded:
            self.recorded[shapes] = self._record(given)
        graph, static, found = self.recorded[shapes]
        for to, tensor in zip(static, given, strict=True):
            to.copy_(tensor)
        graph.replay()
        return found

    def _record(self, given: Sequence[Tensor]) -> tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor]:
        static = [tensor.clone() for tensor in given]
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            self.run(*static)  # Also casts the weights, where autocast keeps them: outside the recording.
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with recording(graph):
            found = self.run(*static)
        return graph, static, found


class Replayed(nn.Module):
    """A module whose passes without gradients are recorded and replayed: no launch waits for Python, whose lock may be
    in other threads' hands. It answers as `GraphedPass` does."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.recorded = GraphedPass(module)

    def forward(self, x: Tensor) -> Tensor:
        """One tensor for one."""
        return self.recorded(x)
