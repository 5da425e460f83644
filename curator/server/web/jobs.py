"""The list of jobs; start, cancel, resume."""

from __future__ import annotations

import shlex
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from curator.server.access import Writer, needs
from curator.server.api.jobs import ServiceJobs
from curator.server.job_commands import COMMANDS
from curator.server.jobs import Job, Jobs
from curator.server.web.render import render
from schemas.errors import AmatlError, BadOption

router = APIRouter(prefix="/jobs", dependencies=[Depends(needs("read"))])
LONGEST_COMMAND = 4_000


@router.get("")
def show(request: Request, jobs: ServiceJobs, command: str = "") -> Response:
    """`command` fills the form."""
    return _page(request, jobs, command[:LONGEST_COMMAND])


@router.post("")
def begin(
    request: Request, jobs: ServiceJobs, caller: Writer, command: Annotated[str, Form(max_length=LONGEST_COMMAND)] = ""
) -> Response:
    try:
        jobs.start(_words(command), caller.person)
    except AmatlError as error:
        return _page(request, jobs, command, str(error))
    return RedirectResponse("/jobs", 303)


@router.post("/{name}/cancel")
def cancel(jobs: ServiceJobs, _: Writer, name: str) -> Response:
    jobs.cancel(name)
    return RedirectResponse("/jobs", 303)


@router.post("/{name}/resume")
def resume(jobs: ServiceJobs, _: Writer, name: str) -> Response:
    jobs.resume(name)
    return RedirectResponse("/jobs", 303)


def typed(job: Job) -> str:
    return shlex.join(["curator", *job.command])


def _page(request: Request, jobs: Jobs, command: str, problem: str | None = None) -> Response:
    lines = [(job, typed(job)) for job in jobs.all()]
    commands = ", ".join(" ".join(name) for name in COMMANDS)
    status = 422 if problem else 200
    return render(request, "jobs.html", status, jobs=lines, commands=commands, command=command, problem=problem)


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise BadOption(f"{command}: a quote isn't closed. Close it.") from error
    return words[1:] if words[:1] == ["curator"] else words
