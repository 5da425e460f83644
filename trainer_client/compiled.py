"""Compiling the denoiser's blocks: whether it pays, how far it is, and where the result is kept between runs.

Blocks, not the whole model: the blocks of one kind and width share what is compiled (two to three minutes for Stable
Diffusion 1.5; SDXL's 70 transformer blocks are of two widths). Where picture sizes differ (buckets), heights and widths
are left open, and one compilation serves all of them. What is between the blocks is little, and recorded kernels
(graphed.py) take away what it costs to launch it.

https://docs.pytorch.org/tutorials/recipes/regional_compilation.html
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from schemas.progress import Progress, silent

if TYPE_CHECKING:
    from torch import Tensor, nn

COMPILING_SECONDS = 160.0  # Of Stable Diffusion 1.5 on 16 cores, with nothing kept from an earlier run.
GAIN = 1.6  # How many times faster a compiled, recorded training step is than one that is neither.
STAGE = "compiling"
BACKEND = "inductor"
WHOLE = ("ResnetBlock2D", "Upsample2D", "Downsample2D", "BasicTransformerBlock")
FEW_LAYERS = 2  # A transformer of more is compiled layer by layer.
ENOUGH_SHAPES = 256  # Of blocks and widths; torch gives up at 8.


def pays(wanted: str, device: str, training_seconds: float) -> bool:
    """Whether to compile: `on`, or `auto` on a GPU where training would take so long without that it is earned back.

    `device` is its type: cpu, cuda.
    """
    if wanted != "auto":
        return wanted == "on"
    return device == "cuda" and training_seconds * (1 - 1 / GAIN) > COMPILING_SECONDS


def keep_in(cache: Path) -> None:
    """Has torch keep what it compiles there, unless the environment says where. Call before the first compilation."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "compiled"))


@contextmanager
def unwarned() -> Iterator[None]:
    """Round a compilation: torch warns of diffusers' code, where there is nothing a user could change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


class Blocks:
    """The compiled blocks of a denoiser. They are compiled when they are first used, forward and backward."""

    def __init__(self, denoiser: nn.Module, open_sizes: bool = False) -> None:
        import torch._dynamo

        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, ENOUGH_SHAPES)
        torch._dynamo.config.accumulated_recompile_limit = max(
            torch._dynamo.config.accumulated_recompile_limit, 4 * ENOUGH_SHAPES
        )
        torch.backends.cudnn.benchmark = not open_sizes  # Tries its algorithms once for each shape: there are few.
        self.modules = list(blocks(denoiser))
        for module in self.modules:
            module.compile(backend=BACKEND, dynamic=open_sizes)

    def watch(self, progress: Progress = silent) -> _Watch:
        """While entered, each block's first passes are told of."""
        return _Watch(self.modules, progress)


class _Watch:
    def __init__(self, modules: list[nn.Module], progress: Progress) -> None:
        self.modules, self.progress = modules, progress
        self.done, self.handles = 0, []  # type: ignore[var-annotated]

    def __enter__(self) -> None:
        """Wraps the call, not the block: a hook inside would be compiled with it."""
        self.unwarned = unwarned()
        self.unwarned.__enter__()
        self.progress(STAGE, 0, 2 * len(self.modules), "the denoiser's blocks, once; kept for later runs")
        for module in self.modules:
            compiled = module._compiled_call_impl

            def noted(*args: Any, compiled: Any = compiled, **kwargs: Any) -> Any:
                output = compiled(*args, **kwargs)
                self._tell()
                for tensor in _tensors(output):
                    if tensor.requires_grad:
                        tensor.register_hook(lambda _: self._tell())  # type: ignore[no-untyped-call]
                return output

            self.handles.append((module, compiled))
            module._compiled_call_impl = noted

    def __exit__(self, *_: object) -> None:
        for module, compiled in self.handles:
            module._compiled_call_impl = compiled
        self.unwarned.__exit__(None, None, None)
        self.progress(STAGE, 2 * len(self.modules), 2 * len(self.modules))

    def _tell(self) -> None:
        self.done += 1
        self.progress(STAGE, min(self.done, 2 * len(self.modules) - 1), 2 * len(self.modules))


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, (tuple, list)):
        for part in output:
            yield from _tensors(part)


def blocks(denoiser: nn.Module) -> Iterator[nn.Module]:
    """What is compiled by itself, outermost first: no block lies within another."""
    inside: set[int] = set()
    for module in denoiser.modules():
        if id(module) in inside or not _is_block(module):
            continue
        yield module
        inside |= {id(part) for part in module.modules()}


def _is_block(module: nn.Module) -> bool:
    names = {kind.__name__ for kind in type(module).__mro__}
    if "Transformer2DModel" in names:
        layers: Any = getattr(module, "transformer_blocks", ())
        return len(layers) <= FEW_LAYERS
    return bool(names & {*WHOLE, "GroupNorm"})
