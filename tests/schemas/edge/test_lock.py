"""Locks between processes: one holds, others are refused or wait; a kill releases."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from threading import Timer

import pytest

from schemas.edge.lock import one_at_a_time, only_process
from schemas.errors import AlreadyExists

HOLD = """
import sys, time
from pathlib import Path
from schemas.edge.lock import one_at_a_time
with one_at_a_time(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "new" / "lock"


@pytest.fixture
def holder(lock: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as said:
        assert said.readline() == "held\n"
    return process


def test_another_process_is_refused_until_the_holder_is_killed(lock: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(AlreadyExists, match="busy"), only_process(lock, lambda: AlreadyExists("busy")):
        pytest.fail("held twice")
    holder.kill()
    holder.wait()
    with only_process(lock, lambda: AlreadyExists("busy")):
        assert lock.is_file()


def test_another_process_waits_and_says_so_once(lock: Path, holder: subprocess.Popen[str]) -> None:
    said: list[str] = []

    def waiting() -> None:
        said.append("waiting")
        Timer(0.2, holder.kill).start()

    with one_at_a_time(lock, waiting):
        assert said == ["waiting"]
    assert holder.wait() < 0
    with one_at_a_time(lock, lambda: said.append("again")):
        assert said == ["waiting"]
