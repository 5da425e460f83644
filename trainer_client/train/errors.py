"""What ends a run from outside, in words: a full disk, a full memory, another process that is gone."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from schemas.errors import AmatlError
from trainer_client.check.benchmark import NotEnoughMemory
from trainer_client.config import TrainConfig
from trainer_client.distributed.processes import Processes
from trainer_client.train.checkpoint import NotSaved

if TYPE_CHECKING:
    from trainer_client.train.preparation import Prepared
    from trainer_client.train.timing import Ledger

FULL = (errno.ENOSPC, errno.EDQUOT)


class ProcessLost(AmatlError):
    """Another process of this run has ended: see what it said, or its launcher. The same command goes on from there."""


@contextmanager
def in_words(prepared: Prepared, ledger: Ledger, processes: Processes) -> Iterator[None]:
    """Wrap a run. Raises NotSaved, NotEnoughMemory, ProcessLost."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise NotSaved.to(error.filename or prepared.config.output.out, error) from error
    except torch.OutOfMemoryError as error:
        doing = ledger.doing
        advice = memory_advice(doing, prepared.config, processes.count)
        raise NotEnoughMemory(f"The memory of {prepared.family.device} is too small for {doing}. {advice}") from error
    except RuntimeError as error:
        if not processes.is_peer_failure(error):
            raise
        raise ProcessLost from error


def memory_advice(doing: str, config: TrainConfig, processes: int) -> str:
    """Which setting to lower, and whether the run can go on with it."""
    batch = {"sampling": "sample_batch_size", "evaluating": "eval_batch_size"}.get(doing)
    sizes = {
        "sample_batch_size": config.sampling.sample_batch_size,
        "eval_batch_size": config.evaluation.eval_batch_size,
    }
    if batch and (size := sizes[batch]) > 1:
        return f"Use a --{batch.replace('_', '-')} below {size} to go on with this run."
    if doing == "training" and processes > 1:
        return "Go on with more processes, or begin another run with a smaller --batch-size and more --accumulation."
    if doing == "training" and not config.optimiser.auto_batch and config.optimiser.batch_size > 1:
        return "Use --auto-batch to go on with this run: the same steps, in smaller batches."
    return "Free some of it, or begin another run with a smaller --resolution or --method lora."
