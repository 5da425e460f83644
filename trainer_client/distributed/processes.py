"""The ranks of one run started by `accelerate launch` or `torchrun`, one per GPU.

Ranks share the images of a step (`--batch-size` times `--accumulation`), so that order, noise and arithmetic are those
of one process. DistributedDataParallel averages gradients; or they are summed at once (all_reduce.py) if passes are
compiled, recorded or run through a copy; or everything is sharded (fsdp.py). Rank 0 writes, samples and evaluates;
other ranks wait. All see the same files.
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
from trainer_client.data.batches import Batch, Step
from trainer_client.data.plan import Plan
from trainer_client.distributed import fsdp
from trainer_client.distributed.fsdp import Sharded
from trainer_client.methods import Method

TIMEOUT = timedelta(hours=24)  # Ranks wait while rank 0 samples and evaluates.


def _on_cpu(device: str, sharded: bool) -> bool:
    """Whether ranks use the CPU: requested, or `auto` without a GPU.

    Raise BadOption if there are too few GPUs, or none for FSDP (`sharded`).
    """
    if device == "cpu":
        return True
    gpus, ranks = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if gpus >= ranks:
        return False
    if gpus or device != "auto":
        raise BadOption(
            f"--device {device}: {plural(gpus, 'GPU')} for the {ranks} processes started here. Start one per GPU,"
            " or give --device cpu."
        )
    if sharded:
        raise BadOption(
            "FSDP: this machine has no GPU. Train with DDP, `accelerate launch --cpu --num_processes N`,"
            " or give --device cpu."
        )
    return True


@dataclass(frozen=True)
class RankModules:
    """Parameters and modules that this rank trains."""

    parameters: Mapping[str, nn.Parameter]  # Trained by this rank's optimiser.
    modules: Mapping[str, nn.Module]  # For passes with gradients, by component.


class Processes:
    """This rank among those of the run."""

    def __init__(self, config: TrainConfig) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.wrapped: list[Any] = []  # By DDP.
        self.accelerator: Any = None
        self.plugin: Any = None  # accelerate's FSDP plugin, if requested
        self.sharded: Sharded | None = None
        if self.count > 1:
            self._join(config)

    @property
    def is_rank_zero(self) -> bool:
        return self.rank == 0

    def _join(self, config: TrainConfig) -> None:
        from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
        from accelerate.utils import DistributedType

        if config.optimiser.auto_batch:
            raise BadOption("--auto-batch works with one process only. Leave it out and give a --batch-size that fits.")
        handlers = [
            InitProcessGroupKwargs(timeout=TIMEOUT),
            DistributedDataParallelKwargs(
                find_unused_parameters=config.method.trains_text_encoder,
                gradient_as_bucket_view=True,  # Saves a copy of the gradients.
            ),
        ]
        on_cpu = _on_cpu(config.hardware.device, fsdp.is_requested())
        self.plugin = fsdp.settings() if fsdp.is_requested() else None
        self.accelerator = Accelerator(
            cpu=on_cpu, mixed_precision="no", kwargs_handlers=handlers, fsdp_plugin=None if on_cpu else self.plugin
        )
        kind = self.accelerator.distributed_type
        if kind not in (DistributedType.MULTI_GPU, DistributedType.MULTI_CPU, DistributedType.FSDP):
            raise BadOption(
                f"accelerate is configured for {kind.value}; not supported. Configure multi_gpu, multi_cpu or FSDP."
            )

    def device(self, requested: str) -> str:
        """Return this rank's device."""
        if self.accelerator is None:
            return requested
        device = self.accelerator.device
        return "cpu" if device.type == "cpu" else str(device)  # safetensors can't load to accelerate's `cpu:0`.

    @property
    def is_sharded(self) -> bool:
        """Whether no rank has a whole model to copy, compile or record."""
        return self.plugin is not None

    def wrap(self, method: Method) -> RankModules:
        """Wrap the modules in DDP or FSDP."""
        modules = method.family.modules
        if self.accelerator is None:
            return RankModules(method.parameters, modules)
        if self.plugin is not None:
            from trainer_client.distributed.fsdp import Sharded

            self.sharded = Sharded(method, self.plugin, self.accelerator.device, self.is_rank_zero)
            return RankModules(self.sharded.parameters, modules | self.sharded.modules)
        trained = {
            name: self.accelerator.prepare(module)
            for name, module in modules.items()
            if any(weight.requires_grad for weight in module.parameters())
        }
        self.wrapped = list(trained.values())
        return RankModules(method.parameters, modules | trained)

    def largest_pass(self, batch_size: int, plan: Plan) -> int:
        """Return the most images of a pass."""
        return min(batch_size, -(-plan.images_per_step // self.count))

    def passes(self, step: Step, images_at_once: int) -> list[Batch]:
        """Return this rank's share of a step in batches, with FSDP equally many on all ranks."""
        batches = list(self.share(step, self.rank).split(images_at_once))
        if self.sharded is None:
            return batches
        shares = (self.share(step, rank) for rank in range(self.count))
        most = max(sum(1 for _ in share.split(images_at_once)) for share in shares)
        spare = next(batches[-1].split(1)) if len(batches) < most else batches[-1]
        return batches + [replace(spare, weights_B=spare.weights_B * 0)] * (most - len(batches))

    def gathered_weights(self) -> AbstractContextManager[None]:
        """Give rank 0's model the current weights. All ranks enter it together."""
        return nullcontext() if self.sharded is None else self.sharded.gathered_weights()

    def share(self, step: Step, rank: int) -> Step:
        """Return a rank's equal part of a step; one image of weight 0 if none is left."""
        if self.count == 1:
            return step
        images = len(step)
        size = -(-images // self.count)
        images_of_rank = step.part(rank * size, min(images, (rank + 1) * size))
        if len(images_of_rank):
            return images_of_rank
        spare = next(step.split(1))
        return replace(spare, weights_B=spare.weights_B * 0)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Keep gradients local until a pass outside sums them."""
        with ExitStack() as stack:
            for module in self.wrapped:
                stack.enter_context(self.accelerator.no_sync(module))
            yield

    def gradient_sync(self, last: bool) -> AbstractContextManager[None]:
        """Return a context for a pass; the last one of a step sums gradients over ranks."""
        return nullcontext() if last or not self.wrapped else self.no_sync()

    def total(self, value: Tensor) -> Tensor:
        """Return the sum over ranks."""
        return value if self.accelerator is None else self.accelerator.reduce(value, reduction="sum")

    def any(self, flag: bool) -> bool:
        """Whether any rank sets the flag. Collective operations need a common decision."""
        if self.accelerator is None:
            return flag
        return bool(self.total(torch.tensor(float(flag), device=self.accelerator.device)))

    def is_peer_failure(self, error: RuntimeError) -> bool:
        """Whether another rank that ended caused this error."""
        lost_connection = isinstance(error, torch.distributed.DistError) or "gloo" in str(error).lower()
        return self.count > 1 and lost_connection  # Gloo raises plain errors that name its source files.

    def all(self, flag: bool) -> bool:
        return not self.any(not flag)

    def wait(self) -> None:
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()

    @contextmanager
    def rank_zero_first(self) -> Iterator[None]:
        """Run the body on rank 0, then on the others."""
        if not self.is_rank_zero:
            self.wait()
        yield
        if self.is_rank_zero:
            self.wait()
