"""A real `curator serve` in its own process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

PATIENCE_S = 60


class Serving:
    """A running service. `client` is a caller on this machine."""

    def __init__(self, catalog: Path, *arguments: str) -> None:
        words = [sys.executable, "-m", "curator", "serve", "--port", "0", "--json", "--catalog", str(catalog)]
        self.process = subprocess.Popen([*words, *arguments], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        lines: list[str] = []
        while not lines or lines[-1] != "}\n":
            line = self.process.stdout.readline()
            assert line, f"the service didn't start: {''.join(lines)}"
            lines.append(line)
        self.facts: dict[str, Any] = json.loads("".join(lines))
        self.client = httpx.Client(base_url=self.facts["url"], timeout=PATIENCE_S)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop the service and return its exit code."""
        self.client.close()
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        assert self.process.stdout
        self.process.stdout.close()
        return code

    def start_job(self, *command: str) -> dict[str, Any]:
        answer = self.client.post("/api/v1/jobs", json={"command": list(command)})
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def job_when(self, name: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until `wanted(job)` holds, and return the job."""
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            job: dict[str, Any] = self.client.get(f"/api/v1/jobs/{name}").json()
            if wanted(job):
                return job
            time.sleep(0.05)
        raise AssertionError(f"still {job}")

    def job_ended(self, name: str) -> dict[str, Any]:
        """Wait until the job has ended, and return it."""
        return self.job_when(name, lambda job: job["status"] != "running")
