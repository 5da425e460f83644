"""Run long work as child processes: `curator` commands that use the catalog through this service.

So the service never loads torch and survives crashes. A job is a JSON file in the data folder. After a restart,
running jobs are listed as interrupted; resuming one runs its command again.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Literal

import click
from pydantic import BaseModel, Field, ValidationError

from curator.server.job_commands import check_command, knows_person
from curator.server.problems import Busy
from schemas.document import now
from schemas.edge import EVENTS
from schemas.errors import AlreadyExists, NotFound

Status = Literal["running", "done", "failed", "cancelled", "interrupted"]
MAX_RUNNING = 4
MAX_ENDED = 200  # older ended jobs are deleted
GRACE_SECONDS = 10.0
# Requests have priority; a job alone on the machine loses nothing.
NICENESS = 10
WRITE_EVERY_SECONDS = 2.0
LARGEST_RESULT_BYTES = 1_000_000


class Job(BaseModel):
    id: str
    command: list[str] = Field(description="The words of the command, without `curator`.")
    person: str
    status: Status
    started_at: str
    ended_at: str | None = None
    stage: str = Field(default="", description="The current stage.")
    done: int = 0
    total: int | None = Field(default=None, description="In the unit of `done`; null while unknown.")
    detail: str = ""
    notices: list[str] = Field(default_factory=list, description="Notices for people.")
    error: str | None = None
    result: dict[str, Any] | None = Field(default=None, description="The command's output with --json.")


class Jobs:
    """Thread-safe."""

    def __init__(
        self, folder: Path, catalog_path: Path, allowed_folders: tuple[Path, ...] | None, program: click.Group
    ) -> None:
        """`folder` stores the jobs and contains their relative paths."""
        self.folder, self.catalog_path, self.allowed_folders = folder, catalog_path, allowed_folders
        self.program = program
        self.output_folder = folder / "made"
        self.output_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._end_status: dict[str, Status] = {}
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._jobs = {job.id: job for job in self._load()}

    def start(self, command: Sequence[str], person: str) -> Job:
        """Raise BadOption for an invalid or forbidden command, Busy."""
        words = check_command(self.program, command, self.output_folder, self.allowed_folders)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(4)}"  # sorts by start time
        return self._run(Job(id=name, command=words, person=person, status="running", started_at=now()))

    def resume(self, name: str) -> Job:
        """Run the command again. Raise NotFound, AlreadyExists if it is running, Busy."""
        job = self.get(name)
        if job.status == "running":
            raise AlreadyExists(f"Job {name} is still running.")
        check_command(self.program, job.command, self.output_folder, self.allowed_folders)
        return self._run(Job(id=name, command=job.command, person=job.person, status="running", started_at=now()))

    def cancel(self, name: str) -> Job:
        """Stop after the current batch, as Ctrl-C does. Raise NotFound."""
        job = self.get(name)
        with self._lock:
            process = self._processes.get(name)
            if process is None:
                return job
            self._end_status[name] = "cancelled"
        threading.Thread(target=_end, args=(process, GRACE_SECONDS), daemon=True).start()
        return self.get(name)

    def get(self, name: str) -> Job:
        """Raise NotFound."""
        with self._lock:
            if name not in self._jobs:
                raise NotFound(f"There is no job {name}.")
            return self._jobs[name]

    def all(self) -> list[Job]:
        with self._lock:
            return self._newest_first()

    def _newest_first(self) -> list[Job]:
        """Sort jobs newest first; for equal times the later job comes first."""
        return sorted(self._jobs.values(), key=lambda job: job.started_at)[::-1]

    def stop(self, grace_seconds: float) -> None:
        """Interrupt the running jobs and wait for them."""
        with self._lock:
            self._closed = True
            running = dict(self._processes)
            self._end_status |= {name: self._end_status.get(name, "interrupted") for name in running}
        for process in running.values():
            threading.Thread(target=_end, args=(process, grace_seconds), daemon=True).start()
        for thread in list(self._threads):
            thread.join(grace_seconds + 2)

    def _run(self, job: Job) -> Job:
        with self._lock:
            if self._closed:
                raise Busy("The service is stopping.")
            if len(self._processes) >= MAX_RUNNING:
                raise Busy(f"{MAX_RUNNING} jobs are running, which is the limit. Wait for one to end, or cancel one.")
            person = ["--as", job.person] if knows_person(self.program, job.command) else []
            added = ["--catalog", str(self.catalog_path), "--json"]
            log = (self.folder / f"{job.id}.log").open("wb")
            process = subprocess.Popen(
                [sys.executable, "-m", "curator", *job.command, *person, *added],
                cwd=self.output_folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=os.environ | {EVENTS: "1", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                start_new_session=True,  # Ctrl-C in the terminal reaches only the service, which passes it on
            )
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
            self._processes[job.id] = process
            self._jobs.pop(job.id, None)  # a resumed job becomes the newest
            self._jobs[job.id] = job
            self._write(job, process.pid)
        thread = threading.Thread(target=self._watch, args=(job.id, process, log), daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        thread.start()
        return job

    def _watch(self, name: str, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        """Handle the job's events until it ends, on its own thread."""
        assert process.stdout and process.stderr
        out: list[bytes] = []
        reading = threading.Thread(target=lambda: out.append(process.stdout.read()), daemon=True)  # type: ignore[union-attr]
        reading.start()
        error, written = None, time.monotonic()
        with log, process.stdout, process.stderr:
            for line in process.stderr:
                log.write(line)
                error = self._handle_event(name, line) or error
                if time.monotonic() - written > WRITE_EVERY_SECONDS:
                    written = time.monotonic()
                    self._write(self.get(name), process.pid)
            code = process.wait()
            reading.join()
        self._finish(name, code, error, out[0] if out else b"")

    def _handle_event(self, name: str, line: bytes) -> str | None:
        """Update the job; return the text of an error event."""
        try:
            event = json.loads(line)
            if "error" in event:
                return str(event["error"]["message"])
            if event["event"] == "progress":
                self._change(name, **{key: event[key] for key in ("stage", "done", "total", "detail")})
            elif event["event"] == "notice":
                self._change(name, notices=[*self.get(name).notices, str(event["message"])])
        except (ValueError, KeyError, TypeError):
            return None  # other output, which is in the log
        return None

    def _finish(self, name: str, code: int, error: str | None, out: bytes) -> None:
        if code and not error:
            error = f"The job ended with exit code {code}. Its log is jobs/{name}.log in the service's data folder."
        changes = {"ended_at": now(), "error": error if code else None, "result": _document(out)}
        with self._lock:  # one step: a job that is seen as ended may be resumed, which writes its file too
            stopped_as = self._end_status.pop(name, None)
            del self._processes[name]
            status: Status = "done" if code == 0 else stopped_as or "failed"
            self._jobs[name] = self._jobs[name].model_copy(update={"status": status, **changes})
            self._write(self._jobs[name])
            self._delete_old()

    def _change(self, name: str, **changes: Any) -> None:
        with self._lock:
            self._jobs[name] = self._jobs[name].model_copy(update=changes)

    def _write(self, job: Job, pid: int | None = None) -> None:
        document = job.model_dump() | ({"pid": pid} if pid else {})
        temporary = self.folder / f".{job.id}.tmp"
        temporary.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
        temporary.replace(self.folder / f"{job.id}.json")

    def _delete_old(self) -> None:
        """The caller holds the lock."""
        ended = [job for job in self._newest_first() if job.status != "running"][MAX_ENDED:]
        for job in ended:
            del self._jobs[job.id]
            for suffix in ("json", "log"):
                (self.folder / f"{job.id}.{suffix}").unlink(missing_ok=True)

    def _load(self) -> Iterator[Job]:
        """Stop jobs that a killed service left running."""
        for path in sorted(self.folder.glob("*.json")):
            try:
                document = json.loads(path.read_bytes())
                job = Job.model_validate(document)
            except (ValueError, ValidationError):
                continue
            if job.status == "running":
                _end_stray(document.get("pid"))
                job = job.model_copy(update={"status": "interrupted", "ended_at": now()})
                self._write(job)
            yield job


def _document(out: bytes) -> dict[str, Any] | None:
    """Return None if it is not a JSON object or too large."""
    if len(out) > LARGEST_RESULT_BYTES:
        return None
    try:
        document = json.loads(out)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _end(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    """Send SIGINT, then SIGTERM, then SIGKILL."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_seconds)
            return


def _end_stray(pid: Any) -> None:
    """Stop a job of a killed service, if the process id is still its own."""
    if not isinstance(pid, int):
        return
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if words[1:3] == [b"-m", b"curator"]:
            os.killpg(pid, signal.SIGTERM)
