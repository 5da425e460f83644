"""A real `curator serve` in a process of its own."""

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
    """Running from the first line it prints. `client` asks as whoever is on this machine."""

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
        """Its exit code."""
        self.client.close()
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        assert self.process.stdout
        self.process.stdout.close()
        return code

    def start_job(self, *command: str) -> dict[str, Any]:
        """The job, just begun."""
        answer = self.client.post("/api/v1/jobs", json={"command": list(command)})
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def job_when(self, name: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The job as soon as it is so."""
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            job: dict[str, Any] = self.client.get(f"/api/v1/jobs/{name}").json()
            if wanted(job):
                return job
            time.sleep(0.05)
        raise AssertionError(f"still {job}")

    def job_ended(self, name: str) -> dict[str, Any]:
        """The job once it runs no more."""
        return self.job_when(name, lambda job: job["status"] != "running")
