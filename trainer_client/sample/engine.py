"""The denoiser that samples: a copy in the compute precision, recorded as CUDA graphs, compiled if that pays.

Graphs read weights at fixed addresses, and compiled code is for fixed shapes. So the next checkpoint of the same
architecture is copied over the last one's weights, and nothing is recorded or compiled again.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from schemas.progress import Progress, silent
from trainer_client.models.family import Denoise, Family
from trainer_client.performance import channels_last, torch_compile
from trainer_client.performance.cuda_graphs import GraphedPass


def sampling_name(family: Family) -> str:
    """Return the name under which compiled sampling passes are cached."""
    return family.compile_key("drawn")


class SamplingDenoiser:
    """Sampling passes shared by checkpoints. `wanted` (auto, on, off) controls compiling, `pictures` is the total to
    sample, `cache` keeps compiled blocks. On a CPU the denoiser is copied only to be compiled.
    """

    def __init__(
        self, wanted: str = "off", pictures: int = 0, cache: Path | None = None, progress: Progress = silent
    ) -> None:
        self.wanted, self.left, self.cache, self.progress = wanted, pictures, cache, progress
        self.family: Family | None = None
        self.denoiser: nn.Module | None = None  # The family's own, or the copy.
        self.module: nn.Module | None = None
        self.structure = ""
        self.passes: Callable[..., Tensor] = self._predict
        self.blocks: torch_compile.Blocks | None = None
        self.name = ""  # Name of the passes being compiled, then empty.
        self.batches = self.largest = 0
        self.began = 0.0

    @contextmanager
    def by(self, family: Family) -> Iterator[Denoise]:
        """Yield the denoising pass of this family. Its weights must not change meanwhile."""
        self.family, self.denoiser, self.began = family, family.denoiser, time.monotonic()
        if self.wanted == "on" or family.device.type == "cuda":
            self._follow(family)
            self.denoiser = self.module
        try:
            yield self._pass
        finally:
            self.family = self.denoiser = None

    def filled(self, batch: list[Any]) -> list[Any]:
        """Repeat the last item of a smaller batch, since another size would be recorded or compiled again. Drop the
        extra samples.
        """
        self.largest = max(self.largest, len(batch))
        return batch if self.module is None else batch + batch[-1:] * (self.largest - len(batch))

    def drew(self, pictures: int) -> None:
        """Count a finished batch; compile for the remaining ones once the speed is known and it pays.

        The first batch is not timed: it records and tunes kernels.
        """
        now = time.monotonic()
        seconds = (now - self.began) / pictures
        self.left, self.batches, self.began = self.left - pictures, self.batches + 1, now
        if self.family is not None and self.blocks is None and self.batches > 1:
            cost = torch_compile.SAMPLING.seconds(self.cache, sampling_name(self.family))
            if torch_compile.SAMPLING.pays(self.wanted, self.family.device.type, seconds * self.left, cost):
                self._copy(self.family, compiling=True)
                self.denoiser = self.module

    def _follow(self, family: Family) -> None:
        """Copy this family's weights into the denoiser's copy."""
        if self.module is None or str(family.denoiser) != self.structure:
            self._copy(family, compiling=self.wanted == "on" or self.blocks is not None)
            return
        with torch.no_grad():
            own, weights = self.module.state_dict(), family.denoiser.state_dict()
            torch._foreach_copy_(list(own.values()), [weights[name] for name in own])

    def _copy(self, family: Family, compiling: bool) -> None:
        self.structure, self.denoiser = str(family.denoiser), family.denoiser
        self.module, self.blocks, self.passes = None, None, self._predict  # Free the old copy first.
        self.module = copy.deepcopy(family.denoiser).to(family.dtype).requires_grad_(False)
        self.passes = GraphedPass(self._predict) if family.device.type == "cuda" else self._predict
        if compiling:
            channels_last.convert(self.module)
            self.blocks, self.name = torch_compile.Blocks(self.module), sampling_name(family)

    def _predict(self, *given: Tensor) -> Tensor:
        assert self.family is not None and self.denoiser is not None
        return self.family.predict(self.denoiser, *given)

    def _pass(self, *given: Tensor) -> Tensor:
        """Run a pass; the first through compiled blocks compiles them and shows progress."""
        if not (self.blocks and self.name):
            return self.passes(*given)
        with self.blocks.watch(self.progress, backward=False):
            found = self.passes(*given)
        torch_compile.SAMPLING.remember(self.cache, self.name)
        self.name = ""
        return found
