"""Long work as child processes: the command line's own commands, which reach the catalog through this service.

So torch never loads here, and a job that dies takes nothing with it. A job is a JSON file in the data folder, written
when it begins, now and then, and when it ends: after a restart what was running is shown as interrupted, and can be
resumed, which is the same command again.
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

from curator.server.job_commands import checked, knows_person
from curator.server.problems import Busy
from schemas.document import now
from schemas.edge import EVENTS
from schemas.errors import AlreadyExists, NotFound

Status = Literal["running", "done", "failed", "cancelled", "interrupted"]
RUNNING_AT_MOST = 4
KEPT = 200  # jobs that have ended
GRACE_SECONDS = 10.0
# Pages go first; a job that has the machine to itself loses nothing.
NICENESS = 10
WRITE_EVERY_SECONDS = 2.0
LARGEST_RESULT_BYTES = 1_000_000


class Job(BaseModel):
    """One piece of long work."""

    id: str
    command: list[str] = Field(description="The command line's words, without the program.")
    person: str
    status: Status
    started_at: str
    ended_at: str | None = None
    stage: str = Field(default="", description="What it is doing.")
    done: int = 0
    total: int | None = Field(default=None, description="In the unit of `done`; null while unknown.")
    detail: str = ""
    notices: list[str] = Field(default_factory=list, description="What a person should hear.")
    error: str | None = None
    result: dict[str, Any] | None = Field(default=None, description="What the command prints with --json.")


class Jobs:
    """The jobs of one service. Safe on many threads."""

    def __init__(
        self, folder: Path, catalog_path: Path, allowed_folders: tuple[Path, ...] | None, program: click.Group
    ) -> None:
        """`folder` keeps the jobs, and relative paths of a job are in it; for the others see `job_commands.checked`."""
        self.folder, self.catalog_path, self.allowed_folders = folder, catalog_path, allowed_folders
        self.program = program
        self.made = folder / "made"
        self.made.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._asked: dict[str, Status] = {}
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._jobs = {job.id: job for job in self._left_behind()}

    def start(self, command: Sequence[str], person: str) -> Job:
        """Begins a job. Raises BadOption for a command that is none or may not be asked for here; Busy."""
        words = checked(self.program, command, self.made, self.allowed_folders)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(4)}"  # in the order they begin
        return self._begin(Job(id=name, command=words, person=person, status="running", started_at=now()))

    def resume(self, name: str) -> Job:
        """The same command again, which does what is missing. Raises NotFound, AlreadyExists where it runs; Busy."""
        job = self.get(name)
        if job.status == "running":
            raise AlreadyExists(f"Job {name} is running.")
        checked(self.program, job.command, self.made, self.allowed_folders)
        return self._begin(Job(id=name, command=job.command, person=job.person, status="running", started_at=now()))

    def cancel(self, name: str) -> Job:
        """Has it stop after what it has in hand, as Ctrl-C does; what was finished is kept. Raises NotFound."""
        job = self.get(name)
        with self._lock:
            process = self._processes.get(name)
            if process is None:
                return job
            self._asked[name] = "cancelled"
        threading.Thread(target=_end, args=(process, GRACE_SECONDS), daemon=True).start()
        return self.get(name)

    def get(self, name: str) -> Job:
        """Raises NotFound."""
        with self._lock:
            if name not in self._jobs:
                raise NotFound(f"There is no job {name}.")
            return self._jobs[name]

    def all(self) -> list[Job]:
        with self._lock:
            return self._newest_first()

    def _newest_first(self) -> list[Job]:
        """Of those that began in one second the last to begin."""
        return sorted(self._jobs.values(), key=lambda job: job.started_at)[::-1]

    def stop(self, grace_seconds: float) -> None:
        """Interrupts what runs and waits for it: the service ends. The next one can resume it."""
        with self._lock:
            self._closed = True
            running = dict(self._processes)
            self._asked |= {name: self._asked.get(name, "interrupted") for name in running}
        for process in running.values():
            threading.Thread(target=_end, args=(process, grace_seconds), daemon=True).start()
        for thread in list(self._threads):
            thread.join(grace_seconds + 2)

    def _begin(self, job: Job) -> Job:
        with self._lock:
            if self._closed:
                raise Busy("The service is stopping.")
            if len(self._processes) >= RUNNING_AT_MOST:
                raise Busy(f"{RUNNING_AT_MOST} jobs are running. Wait until one of them has ended, or cancel one.")
            # What the service adds: who asked, its catalog, and events instead of bars.
            person = ["--as", job.person] if knows_person(self.program, job.command) else []
            given = ["--catalog", str(self.catalog_path), "--json"]
            log = (self.folder / f"{job.id}.log").open("wb")
            process = subprocess.Popen(
                [sys.executable, "-m", "curator", *job.command, *person, *given],
                cwd=self.made,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=os.environ | {EVENTS: "1", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                start_new_session=True,  # Ctrl-C at the service's terminal is for the service, which passes it on.
            )
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
            self._processes[job.id] = process
            self._jobs.pop(job.id, None)  # one that is resumed is the newest
            self._jobs[job.id] = job
            self._write(job, process.pid)
        thread = threading.Thread(target=self._follow, args=(job.id, process, log), daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        thread.start()
        return job

    def _follow(self, name: str, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        """On a thread of its own: the job's events as they come, then how it ended."""
        assert process.stdout and process.stderr
        out: list[bytes] = []
        reading = threading.Thread(target=lambda: out.append(process.stdout.read()), daemon=True)  # type: ignore[union-attr]
        reading.start()
        error, written = None, time.monotonic()
        with log, process.stdout, process.stderr:
            for line in process.stderr:
                log.write(line)
                error = self._hear(name, line) or error
                if time.monotonic() - written > WRITE_EVERY_SECONDS:
                    written = time.monotonic()
                    self._write(self.get(name), process.pid)
            code = process.wait()
            reading.join()
        self._ended(name, code, error, out[0] if out else b"")

    def _hear(self, name: str, line: bytes) -> str | None:
        """Takes an event in; gives the error's text where it is one."""
        try:
            said = json.loads(line)
            if "error" in said:
                return str(said["error"]["message"])
            if said["event"] == "progress":
                self._change(name, **{key: said[key] for key in ("stage", "done", "total", "detail")})
            elif said["event"] == "notice":
                self._change(name, notices=[*self.get(name).notices, str(said["message"])])
        except (ValueError, KeyError, TypeError):
            return None  # A library's remark; it stands in the log.
        return None

    def _ended(self, name: str, code: int, error: str | None, out: bytes) -> None:
        if code and not error:
            error = f"It ended with exit code {code}. Its log is jobs/{name}.log in the service's data folder."
        how = {"ended_at": now(), "error": error if code else None, "result": _document(out)}
        with self._lock:  # as one: whoever sees that it has ended may resume it, and that is written, too
            asked = self._asked.pop(name, None)
            del self._processes[name]
            status: Status = "done" if code == 0 else asked or "failed"
            self._jobs[name] = self._jobs[name].model_copy(update={"status": status, **how})
            self._write(self._jobs[name])
            self._forget()

    def _change(self, name: str, **changes: Any) -> None:
        with self._lock:
            self._jobs[name] = self._jobs[name].model_copy(update=changes)

    def _write(self, job: Job, pid: int | None = None) -> None:
        document = job.model_dump() | ({"pid": pid} if pid else {})
        temporary = self.folder / f".{job.id}.tmp"
        temporary.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
        temporary.replace(self.folder / f"{job.id}.json")

    def _forget(self) -> None:
        """Of the jobs that have ended the oldest, once there are many. The lock is held."""
        ended = [job for job in self._newest_first() if job.status != "running"][KEPT:]
        for job in ended:
            del self._jobs[job.id]
            for suffix in ("json", "log"):
                (self.folder / f"{job.id}.{suffix}").unlink(missing_ok=True)

    def _left_behind(self) -> Iterator[Job]:
        """The jobs of the services before; what one that was killed left running is ended first."""
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
    """The result that a command printed, where it is one and not too large to keep."""
    if len(out) > LARGEST_RESULT_BYTES:
        return None
    try:
        document = json.loads(out)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _end(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    """Ctrl-C first; then less and less kindly, with all that it started."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_seconds)
            return


def _end_stray(pid: Any) -> None:
    """A job whose service was killed, if it is still there: by its command, since the number may be another's now."""
    if not isinstance(pid, int):
        return
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if words[1:3] == [b"-m", b"curator"]:
            os.killpg(pid, signal.SIGTERM)
