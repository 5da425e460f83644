"""What ends a run from outside, in words."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trainer_client.config import TrainConfig
from trainer_client.distributed.processes import Processes
from trainer_client.train.checkpoint import NotSaved
from trainer_client.train.errors import ProcessLost, memory_advice, with_advice
from trainer_client.train.timing import Ledger


def config(**values: Any) -> TrainConfig:
    return TrainConfig.of(snapshot=Path("s"), base="b", out=Path("o"), **values)


@pytest.mark.parametrize(
    ("doing", "values", "processes", "said"),
    [
        ("sampling", {}, 1, "Use a --sample-batch-size below 16 to resume this run"),
        ("evaluating", {"eval_batch_size": 8}, 2, "Use a --eval-batch-size below 8 to resume this run"),
        ("training", {}, 1, "Use --auto-batch to resume this run"),
        ("training", {}, 2, "more processes, or start another run with a smaller --batch-size"),
        ("training", {"auto_batch": True}, 1, "start another run with a smaller --resolution"),
        ("training", {"batch_size": 1}, 1, "start another run with a smaller --resolution"),
        ("sampling", {"sample_batch_size": 1}, 1, "start another run with a smaller --resolution"),
    ],
)
def test_memory_advice_names_the_setting(doing: str, values: dict[str, Any], processes: int, said: str) -> None:
    assert said in memory_advice(doing, config(**values), processes)


def of(processes: int) -> Processes:
    found = Processes(config(device="cpu"))
    found.count = processes
    return found


def run(processes: int) -> tuple[Any, Ledger, Processes]:
    return SimpleNamespace(config=config()), Ledger(None), of(processes)


def test_a_full_disk_and_a_used_up_quota_are_said_and_other_errors_pass() -> None:
    for number in (errno.ENOSPC, errno.EDQUOT):
        with pytest.raises(NotSaved, match=r"o/grid\.png: can't be saved"), with_advice(*run(1)):
            raise OSError(number, "full", "o/grid.png")
    with pytest.raises(PermissionError), with_advice(*run(1)):
        raise PermissionError(errno.EACCES, "no")


def test_a_process_that_is_gone_is_told_from_a_mistake() -> None:
    gone = RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]")
    with pytest.raises(ProcessLost, match="Run the same command again to resume"), with_advice(*run(2)):
        raise gone
    with pytest.raises(ProcessLost), with_advice(*run(2)):
        raise torch.distributed.DistBackendError("NCCL error: remote process exited")
    with pytest.raises(RuntimeError, match="gloo"), with_advice(*run(1)):
        raise gone
    with pytest.raises(RuntimeError, match="shapes"), with_advice(*run(2)):
        raise RuntimeError("shapes don't match")


def test_several_on_the_cpu_have_a_device_that_a_state_can_be_read_to() -> None:
    several = of(2)
    several.accelerator = SimpleNamespace(device=torch.device("cpu:0"))
    assert several.device("cpu") == "cpu"
    several.accelerator = SimpleNamespace(device=torch.device("cuda:1"))
    assert several.device("cuda") == "cuda:1"
