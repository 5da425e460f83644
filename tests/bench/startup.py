"""How quick `--help` is, against a bare interpreter: what a person waits for at every command."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from tests.bench.table import Row

RUNS = 7


def seconds(*arguments: str) -> float:
    """Median wall seconds of a fresh interpreter with these arguments."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def bench() -> list[Row]:
    bare = seconds("-c", "pass")
    torch = seconds("-c", "import torch")
    rows = []
    for program in ("curator", "trainer_client"):
        own = seconds("-m", program, "--help")
        rows.append(
            Row(f"{program} --help", "import torch alone", torch / own, f"{own:.2f} s; bare interpreter {bare:.2f} s")
        )
    return rows
