"""The processes of one run, where `accelerate launch` or `torchrun` started several: one a GPU, on one machine or many.

A step's images are shared among them, so that order, noise and arithmetic are those of one process, whatever their
number: `--batch-size` times `--accumulation` images make a step for all of them together. Gradients are averaged by
PyTorch's DistributedDataParallel as accelerate sets it up; or added up at once (all_reduce.py) where the passes are
compiled or recorded or go through a copy; or weights, gradients and moments are spread over the processes where
accelerate's configuration asks for FSDP (fsdp.py). The first process writes everything, draws the pictures and
measures; the others wait for it. All see the same files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

from schemas.edge.words import plural
from schemas.errors import BadOption
from trainer_client.config import TrainConfig
from trainer_client.data.batches import Drawn, Step
from trainer_client.data.plan import Plan
from trainer_client.distributed import fsdp
from trainer_client.distributed.fsdp import Sharded
from trainer_client.methods import Method

PATIENCE = timedelta(hours=24)  # The others wait while the first draws and measures.


def _on_cpu(device: str, spread: bool) -> bool:
    """Whether these processes compute on the CPU: asked for, or `auto` where there is no GPU.

    Raises BadOption where there are too few GPUs, or none for FSDP (`spread`).
    """
    if device == "cpu":
        return True
    there, here = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if there >= here:
        return False
    if there or device != "auto":
        gpus = f"{plural(there, 'GPU')} for the {here} processes started here"
        raise BadOption(f"--device {device}: {gpus}. Start one a GPU, or give --device cpu.")
    if spread:
        raise BadOption(
            "FSDP: there is no GPU here. Train with DDP, `accelerate launch --cpu --num_processes N`,"
            " or give --device cpu."
        )
    return True


@dataclass(frozen=True)
class Wrapped:
    """What training works on, as one of several processes."""

    parameters: Mapping[str, nn.Parameter]  # That this process's optimiser moves.
    modules: Mapping[str, nn.Module]  # That passes with gradients go through, by component.


class Processes:
    """This process among those of the run."""

    def __init__(self, config: TrainConfig) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.wrapped: list[Any] = []  # By DDP.
        self.accelerator: Any = None
        self.plugin: Any = None  # accelerate's of FSDP, where its configuration asks for that
        self.sharded: Sharded | None = None
        if self.count > 1:
            self._join(config)

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def _join(self, config: TrainConfig) -> None:
        from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
        from accelerate.utils import DistributedType

        if config.optimiser.auto_batch:
            raise BadOption("--auto-batch works with one process; give several a --batch-size that fits.")
        handlers = [
            InitProcessGroupKwargs(timeout=PATIENCE),
            DistributedDataParallelKwargs(
                find_unused_parameters=config.method.trains_text_encoder,
                gradient_as_bucket_view=True,  # One copy of the gradients less, in memory and in time.
            ),
        ]
        on_cpu = _on_cpu(config.hardware.device, fsdp.asked_for())
        self.plugin = fsdp.settings() if fsdp.asked_for() else None
        self.accelerator = Accelerator(
            cpu=on_cpu, mixed_precision="no", kwargs_handlers=handlers, fsdp_plugin=None if on_cpu else self.plugin
        )
        kind = self.accelerator.distributed_type
        if kind not in (DistributedType.MULTI_GPU, DistributedType.MULTI_CPU, DistributedType.FSDP):
            raise BadOption(
                f"accelerate is set up for {kind.value}; this program trains with DDP (multi_gpu, multi_cpu) or FSDP."
            )

    def device(self, asked: str) -> str:
        """The device of this process: its own GPU where there are several."""
        if self.accelerator is None:
            return asked
        own = self.accelerator.device
        return "cpu" if own.type == "cpu" else str(own)  # accelerate's `cpu:0` is no place that files can be read to.

    @property
    def shards(self) -> bool:
        """Whether weights are spread over the processes: none has a whole model to copy, compile or record."""
        return self.plugin is not None

    def wrap(self, method: Method) -> Wrapped:
        """Have DDP or FSDP make the gradients everybody's average."""
        modules = method.family.modules
        if self.accelerator is None:
            return Wrapped(method.parameters, modules)
        if self.plugin is not None:
            from trainer_client.distributed.fsdp import Sharded

            self.sharded = Sharded(method, self.plugin, self.accelerator.device, self.first)
            return Wrapped(self.sharded.parameters, modules | self.sharded.modules)
        learning = {
            name: self.accelerator.prepare(module)
            for name, module in modules.items()
            if any(weight.requires_grad for weight in module.parameters())
        }
        self.wrapped = list(learning.values())
        return Wrapped(method.parameters, modules | learning)

    def most_at_once(self, batch_size: int, plan: Plan) -> int:
        """The images of this process's largest pass."""
        return min(batch_size, -(-plan.images_per_step // self.count))

    def passes(self, drawn: Step, images_at_once: int) -> list[Drawn]:
        """This process's share of a step in batches. With FSDP a pass is everybody's: as many as anyone has."""
        own = list(self.share(drawn, self.rank).split(images_at_once))
        if self.sharded is None:
            return own
        shares = (self.share(drawn, rank) for rank in range(self.count))
        most = max(sum(1 for _ in share.split(images_at_once)) for share in shares)
        spare = next(own[-1].split(1)) if len(own) < most else own[-1]
        return own + [replace(spare, weights_B=spare.weights_B * 0)] * (most - len(own))

    def shown(self) -> AbstractContextManager[None]:
        """While entered the first process's model is as trained so far. All enter it together."""
        return nullcontext() if self.sharded is None else self.sharded.shown()

    def share(self, drawn: Step, rank: int) -> Step:
        """A process's images of a step: equal parts; where there are none left, one that counts nothing."""
        if self.count == 1:
            return drawn
        images = len(drawn)
        size = -(-images // self.count)
        own = drawn.part(rank * size, min(images, (rank + 1) * size))
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
        return nullcontext() if last or not self.wrapped else self.alone()

    def total(self, value: Tensor) -> Tensor:
        """The sum over the processes, in each of them."""
        return value if self.accelerator is None else self.accelerator.reduce(value, reduction="sum")

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process: what all do together they must decide together."""
        if self.accelerator is None:
            return flag

        return bool(self.total(torch.tensor(float(flag), device=self.accelerator.device)))

    def lost(self, error: RuntimeError) -> bool:
        """Whether this is what a process gets to see when another one ends without it."""
        of_others = isinstance(error, torch.distributed.DistError) or "gloo" in str(error).lower()
        return self.count > 1 and of_others  # Gloo's own are plain ones that name its source files.

    def all(self, flag: bool) -> bool:
        """Whether it is so in every process."""
        return not self.any(not flag)

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
