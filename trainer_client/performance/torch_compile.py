"""Compile the denoiser's blocks: whether it pays, progress, cache.

Blocks of one kind and width share compiled code (two to three minutes for Stable Diffusion 1.5; SDXL's 70 transformer
blocks have two widths). With buckets, heights and widths are dynamic. CUDA graphs (cuda_graphs.py) remove the launch
cost between blocks.

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
BLOCKS = ("ResnetBlock2D", "Upsample2D", "Downsample2D", "BasicTransformerBlock")
MAX_BLOCK_LAYERS = 2  # A transformer with more is compiled layer by layer.
RECOMPILE_LIMIT = 256  # Of blocks and widths; torch's default is 8.


@dataclass(frozen=True)
class CompileCost:
    """Cost and gain, for Stable Diffusion 1.5 on an H100 with 16 cores (tests/bench/LOG.md).

    A marker file shows that an earlier run compiled the same.
    """

    new_seconds: float  # With an empty cache.
    cached_seconds: float  # With the cache of an earlier run.
    gain: float  # Speed-up of passes, as a factor.

    def seconds(self, cache: Path | None, name: str) -> float:
        """Return expected seconds; less if the marker of `name` (a `compile_key`) exists."""
        return self.cached_seconds if cache is not None and _mark(cache, name).is_file() else self.new_seconds

    def pays(self, wanted: str, device: str, seconds: float, cost: float) -> bool:
        """Whether to compile: `on`, or `auto` on a GPU if it saves more than `cost` seconds.

        `seconds` is the time of the passes uncompiled; `device` is cpu or cuda.
        """
        if wanted != "auto":
            return wanted == "on"
        return device == "cuda" and seconds * (1 - 1 / self.gain) > cost

    def remember(self, cache: Path | None, name: str) -> None:
        """Write the marker. A failure only costs the next run time."""
        if cache is not None:
            with suppress(OSError):
                _mark(cache, name).parent.mkdir(parents=True, exist_ok=True)
                _mark(cache, name).touch()


# Gains relative to steps neither compiled nor recorded, and to recorded passes.
TRAINING = CompileCost(new_seconds=160.0, cached_seconds=18.0, gain=1.6)
SAMPLING = CompileCost(new_seconds=90.0, cached_seconds=20.0, gain=1.4)


def compile_key(denoiser: nn.Module, device: torch.device, dtype: torch.dtype, *facts: object) -> str:
    """Return a key of layers, device, dtype and the `facts` that decide shapes."""
    device_name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return sha256_json(list(map(str, (torch.__version__, device_name, dtype, *facts, denoiser))))[:32]


def _mark(cache: Path, name: str) -> Path:
    return folder(cache) / "amatl" / name


def folder(cache: Path) -> Path:
    """Return torch's compile cache; the environment overrides ours."""
    return Path(os.environ.get(FOLDER_VARIABLE) or cache / "compiled")


def set_cache_folder(cache: Path) -> None:
    """Call before the first compilation."""
    os.environ[FOLDER_VARIABLE] = str(folder(cache))


@contextmanager
def without_warnings() -> Iterator[None]:
    """Silence torch's warnings about diffusers' code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


class Blocks:
    """The compiled blocks of a denoiser; they compile at first use."""

    def __init__(self, denoiser: nn.Module, open_sizes: bool = False) -> None:
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, RECOMPILE_LIMIT)
        torch._dynamo.config.accumulated_recompile_limit = max(
            torch._dynamo.config.accumulated_recompile_limit, 4 * RECOMPILE_LIMIT
        )
        torch.backends.cudnn.benchmark = not open_sizes  # Measures algorithms for each shape: there are few.
        self.modules = list(blocks(denoiser))
        for module in self.modules:
            module.compile(backend=BACKEND, dynamic=open_sizes)

    def watch(self, progress: Progress = silent, backward: bool = True) -> _Watch:
        """Return a context that reports each block's first passes."""
        return _Watch(self.modules, progress, backward)


class _Watch:
    def __init__(self, modules: list[nn.Module], progress: Progress, backward: bool) -> None:
        self.modules, self.progress = modules, progress
        self.passes = len(modules) * (2 if backward else 1)
        self.done, self.handles = 0, []  # type: ignore[var-annotated]

    def __enter__(self) -> None:
        """Wrap the call, not the block: a hook inside would be compiled too."""
        self.without_warnings = without_warnings()
        self.without_warnings.__enter__()
        self.progress(STAGE, 0, self.passes, "the denoiser's blocks, once; kept for later runs")
        for module in self.modules:
            compiled = module._compiled_call_impl

            def counted(*args: Any, compiled: Any = compiled, **kwargs: Any) -> Any:
                output = compiled(*args, **kwargs)
                self._count_pass()
                for tensor in _tensors(output):
                    if tensor.requires_grad:
                        tensor.register_hook(lambda _: self._count_pass())  # type: ignore[no-untyped-call]
                return output

            self.handles.append((module, compiled))
            module._compiled_call_impl = counted

    def __exit__(self, *_: object) -> None:
        for module, compiled in self.handles:
            module._compiled_call_impl = compiled
        self.without_warnings.__exit__(None, None, None)
        self.progress(STAGE, self.passes, self.passes)

    def _count_pass(self) -> None:
        self.done += 1
        self.progress(STAGE, min(self.done, self.passes - 1), self.passes)


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, (tuple, list)):
        for part in output:
            yield from _tensors(part)


def blocks(denoiser: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules to compile; no block contains another."""
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
        return len(layers) <= MAX_BLOCK_LAYERS
    return bool(names & {*BLOCKS, "GroupNorm"})
