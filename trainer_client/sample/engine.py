"""What pictures are drawn through, one checkpoint after another: a copy of the denoiser in the precision of its passes,
recorded on a GPU, and compiled once that is worth it.

Recorded kernels read weights from where they lay, and what is compiled is compiled for these shapes; so the weights of
the next checkpoint of the same architecture are written over the last one's, and neither is done again.
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


def drawn_name(family: Family) -> str:
    """What names the compiled passes of sampling."""
    return family.compile_key("drawn")


class Drawing:
    """`wanted` (auto, on, off) is about compiling, `pictures` are all there are to draw, `cache` is where compiled
    blocks are kept. On a CPU nothing is copied unless it is compiled."""

    def __init__(
        self, wanted: str = "off", pictures: int = 0, cache: Path | None = None, progress: Progress = silent
    ) -> None:
        self.wanted, self.left, self.cache, self.progress = wanted, pictures, cache, progress
        self.family: Family | None = None  # The one that draws now.
        self.denoiser: nn.Module | None = None  # What its passes go through: its own, or the copy.
        self.module: nn.Module | None = None
        self.structure = ""
        self.passes: Callable[..., Tensor] = self._predict
        self.blocks: torch_compile.Blocks | None = None
        self.name = ""  # Of what is being compiled, until that is done.
        self.batches = self.largest = 0
        self.began = 0.0

    @contextmanager
    def by(self, family: Family) -> Iterator[Denoise]:
        """Give the passes of this family's images. Its weights must stay as they are."""
        self.family, self.denoiser, self.began = family, family.denoiser, time.monotonic()
        if self.wanted == "on" or family.device.type == "cuda":
            self._follow(family)
            self.denoiser = self.module
        try:
            yield self._pass
        finally:
            self.family = self.denoiser = None

    def filled(self, batch: list[Any]) -> list[Any]:
        """A batch smaller than one before it, filled up with its last item where another size would be recorded or
        compiled anew. What is drawn of these is to be dropped."""
        self.largest = max(self.largest, len(batch))
        return batch if self.module is None else batch + batch[-1:] * (self.largest - len(batch))

    def drew(self, pictures: int) -> None:
        """Told after each batch; compiles for those that are left, once their pace is known and it pays.

        The first batch's pace isn't theirs: kernels are chosen and recorded in it.
        """
        now = time.monotonic()
        seconds = (now - self.began) / pictures
        self.left, self.batches, self.began = self.left - pictures, self.batches + 1, now
        if self.family is not None and self.blocks is None and self.batches > 1:
            cost = torch_compile.SAMPLING.seconds(self.cache, drawn_name(self.family))
            if torch_compile.SAMPLING.pays(self.wanted, self.family.device.type, seconds * self.left, cost):
                self._copy(self.family, compiling=True)
                self.denoiser = self.module

    def _follow(self, family: Family) -> None:
        """The copy becomes one of this family's weights."""
        if self.module is None or str(family.denoiser) != self.structure:
            self._copy(family, compiling=self.wanted == "on" or self.blocks is not None)
            return
        with torch.no_grad():
            own, weights = self.module.state_dict(), family.denoiser.state_dict()
            torch._foreach_copy_(list(own.values()), [weights[name] for name in own])

    def _copy(self, family: Family, compiling: bool) -> None:
        self.structure, self.denoiser = str(family.denoiser), family.denoiser
        self.module, self.blocks, self.passes = None, None, self._predict  # What was there before holds memory.
        self.module = copy.deepcopy(family.denoiser).to(family.dtype).requires_grad_(False)
        self.passes = GraphedPass(self._predict) if family.device.type == "cuda" else self._predict
        if compiling:
            channels_last.convert(self.module)
            self.blocks, self.name = torch_compile.Blocks(self.module), drawn_name(family)

    def _predict(self, *given: Tensor) -> Tensor:
        assert self.family is not None and self.denoiser is not None
        return self.family.predict(self.denoiser, *given)

    def _pass(self, *given: Tensor) -> Tensor:
        """The first one through compiled blocks compiles them, as everybody may see."""
        if not (self.blocks and self.name):
            return self.passes(*given)
        with self.blocks.watch(self.progress, backward=False):
            found = self.passes(*given)
        torch_compile.SAMPLING.remember(self.cache, self.name)
        self.name = ""
        return found
