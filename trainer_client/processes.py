"""The processes of one run, where `accelerate launch` or `torchrun` started several: one a GPU, on one machine or many.

A step's images are shared among them, so that order, noise and arithmetic are those of one process, whatever their
number: `--batch-size` times `--accumulation` images make a step for all of them together. Gradients are averaged by
PyTorch's DistributedDataParallel as accelerate sets it up. The first process writes everything, draws the pictures and
measures; the others wait for it. All see the same files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from schemas.errors import BadOption

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import Tensor

    from trainer_client.config import TrainConfig
    from trainer_client.draws import Step
    from trainer_client.methods import Method

PATIENCE = timedelta(hours=24)  # The others wait while the first draws and measures.


def is_first() -> bool:
    """Whether this process is the one that writes and speaks; found out without loading anything."""
    return int(os.environ.get("RANK", "0")) == 0


class Processes:
    """This process among those of the run."""

    def __init__(self, config: TrainConfig) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.wrapped: list[Any] = []
        self.accelerator: Any = None
        if self.count > 1:
            self._join(config)

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def _join(self, config: TrainConfig) -> None:
        from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
        from accelerate.utils import DistributedType

        if config.auto_batch:
            raise BadOption("--auto-batch works with one process; give several a --batch-size that fits.")
        handlers = [
            InitProcessGroupKwargs(timeout=PATIENCE),
            DistributedDataParallelKwargs(find_unused_parameters=config.train_text_encoder),
        ]
        self.accelerator = Accelerator(cpu=config.device == "cpu", mixed_precision="no", kwargs_handlers=handlers)
        kind = self.accelerator.distributed_type
        if kind not in (DistributedType.MULTI_GPU, DistributedType.MULTI_CPU):
            raise BadOption(
                f"accelerate is set up for {kind.value}; this program trains with DDP (multi_gpu, multi_cpu)."
            )

    def device(self, asked: str) -> str:
        """The device of this process: its own GPU where there are several."""
        return asked if self.accelerator is None else str(self.accelerator.device)

    def wrap(self, method: Method) -> None:
        """Makes the gradients of what is trained those of all processes' images."""
        if self.accelerator is None:
            return
        family = method.family
        for name, module in {"denoiser": family.denoiser, **family.text_encoders}.items():
            if any(weight.requires_grad for weight in module.parameters()):
                family.wrapped[name] = self.accelerator.prepare(module)
        self.wrapped = list(family.wrapped.values())

    def share(self, drawn: Step) -> Step:
        """This process's images of a step: equal parts; where there are none left, one that counts nothing."""
        if self.count == 1:
            return drawn
        images = len(drawn)
        size = -(-images // self.count)
        own = drawn.part(self.rank * size, min(images, (self.rank + 1) * size))
        if len(own):
            return own
        spare = next(drawn.split(1))
        return replace(spare, weights_B=spare.weights_B * 0)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Gradients made inside stay this process's own, until a pass outside adds them to the others'."""
        with ExitStack() as stack:
            for module in self.wrapped:
                stack.enter_context(self.accelerator.no_sync(module))
            yield

    def adding_up(self, last: bool) -> AbstractContextManager[None]:
        """Round each of a step's passes: the last one makes the gradients everybody's."""
        return nullcontext() if last or self.count == 1 else self.alone()

    def total(self, value: Tensor) -> Tensor:
        """The sum over the processes, in each of them."""
        return value if self.accelerator is None else self.accelerator.reduce(value, reduction="sum")

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process: what all do together they must decide together."""
        if self.accelerator is None:
            return flag
        import torch

        return bool(self.total(torch.tensor(float(flag), device=self.accelerator.device)))

    def wait(self) -> None:
        """Until all processes are here."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()

    @contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """The first process does it, then the others, who find it done."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()
