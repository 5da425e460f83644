"""Compiling the denoiser's blocks: whether it pays, how far it is, and where the result is kept between runs.

Blocks, not the whole model: the blocks of one kind and width share what is compiled (two to three minutes for Stable
Diffusion 1.5; SDXL's 70 transformer blocks are of two widths). Where picture sizes differ (buckets), heights and widths
are left open, and one compilation serves all of them. What is between the blocks is little, and recorded kernels
(cuda_graphs.py) take away what it costs to launch it.

https://docs.pytorch.org/tutorials/recipes/regional_compilation.html
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
from torch import Tensor, nn

from schemas.digest import sha256_json
from schemas.progress import Progress, silent

FOLDER_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
STAGE = "compiling"
BACKEND = "inductor"
WHOLE = ("ResnetBlock2D", "Upsample2D", "Downsample2D", "BasicTransformerBlock")
FEW_LAYERS = 2  # A transformer of more is compiled layer by layer.
ENOUGH_SHAPES = 256  # Of blocks and widths; torch gives up at 8.


@dataclass(frozen=True)
class Worth:
    """What compiling costs and brings, of Stable Diffusion 1.5 on an H100 with 16 cores (tests/bench/LOG.md).

    A mark beside what torch keeps tells that an earlier run has compiled the same.
    """

    new_seconds: float  # With nothing kept.
    kept_seconds: float  # From what an earlier run has kept.
    gain: float  # How many times faster passes are afterwards.

    def seconds(self, cache: Path | None, name: str) -> float:
        """What compiling will take, by whether the mark of this `name` (see `named`) is there."""
        return self.kept_seconds if cache is not None and _mark(cache, name).is_file() else self.new_seconds

    def pays(self, wanted: str, device: str, seconds: float, cost: float) -> bool:
        """Whether to compile: `on`, or `auto` on a GPU where it earns its `cost` back.

        `seconds` are what the passes would take without it; `device` is its type: cpu, cuda.
        """
        if wanted != "auto":
            return wanted == "on"
        return device == "cuda" and seconds * (1 - 1 / self.gain) > cost

    def remember(self, cache: Path | None, name: str) -> None:
        """Leaves the mark, once it is compiled. A cache that can't be written costs the next run time, nothing else."""
        if cache is not None:
            with suppress(OSError):
                _mark(cache, name).parent.mkdir(parents=True, exist_ok=True)
                _mark(cache, name).touch()


TRAINED = Worth(new_seconds=160.0, kept_seconds=18.0, gain=1.6)  # Against steps neither compiled nor recorded.
DRAWN = Worth(new_seconds=90.0, kept_seconds=20.0, gain=1.4)  # Against recorded passes.


def named(denoiser: nn.Module, device: torch.device, dtype: torch.dtype, *facts: object) -> str:
    """What names compiled passes: the denoiser's layers, what runs them, and the `facts` that decide shapes."""
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return sha256_json(list(map(str, (torch.__version__, where, dtype, *facts, denoiser))))[:32]


def _mark(cache: Path, name: str) -> Path:
    return folder(cache) / "amatl" / name


def folder(cache: Path) -> Path:
    """Where torch keeps what it compiles: in the cache, unless the environment says where."""
    return Path(os.environ.get(FOLDER_VARIABLE) or cache / "compiled")


def keep_in(cache: Path) -> None:
    """Has torch keep it there. Call before the first compilation."""
    os.environ[FOLDER_VARIABLE] = str(folder(cache))


@contextmanager
def unwarned() -> Iterator[None]:
    """Round a compilation: torch warns of diffusers' code, where there is nothing a user could change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


class Blocks:
    """The compiled blocks of a denoiser. They are compiled when they are first used, forward and backward."""

    def __init__(self, denoiser: nn.Module, open_sizes: bool = False) -> None:
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, ENOUGH_SHAPES)
        torch._dynamo.config.accumulated_recompile_limit = max(
            torch._dynamo.config.accumulated_recompile_limit, 4 * ENOUGH_SHAPES
        )
        torch.backends.cudnn.benchmark = not open_sizes  # Tries its algorithms once for each shape: there are few.
        self.modules = list(blocks(denoiser))
        for module in self.modules:
            module.compile(backend=BACKEND, dynamic=open_sizes)

    def watch(self, progress: Progress = silent, backward: bool = True) -> _Watch:
        """While entered, each block's first passes are told of: forward, and `backward` where there is a way back."""
        return _Watch(self.modules, progress, backward)


class _Watch:
    def __init__(self, modules: list[nn.Module], progress: Progress, backward: bool) -> None:
        self.modules, self.progress = modules, progress
        self.passes = len(modules) * (2 if backward else 1)
        self.done, self.handles = 0, []  # type: ignore[var-annotated]

    def __enter__(self) -> None:
        """Wraps the call, not the block: a hook inside would be compiled with it."""
        self.unwarned = unwarned()
        self.unwarned.__enter__()
        self.progress(STAGE, 0, self.passes, "the denoiser's blocks, once; kept for later runs")
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
        self.progress(STAGE, self.passes, self.passes)

    def _tell(self) -> None:
        self.done += 1
        self.progress(STAGE, min(self.done, self.passes - 1), self.passes)


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
