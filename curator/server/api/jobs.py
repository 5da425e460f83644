"""Jobs: long stages as the service's child processes, with their progress as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from curator.server.access import Writer, needs
from curator.server.api import examples
from curator.server.api.responses import etag_response, example
from curator.server.jobs import Job, Jobs

router = APIRouter(prefix="/jobs", tags=["jobs"], dependencies=[Depends(needs("read"))])
EVENT_STREAM = "text/event-stream"
LOOK_SECONDS = 0.25
ALIVE_SECONDS = 15  # Proxies close what is silent for long.


class JobsResult(BaseModel):
    """Newest first."""

    jobs: list[Job]


class JobRequest(BaseModel):
    """What to do."""

    command: list[str] = Field(
        min_length=1,
        max_length=200,
        description="The words of a `curator` command, without the program: ingest, caption, check, commit, compare, "
        "snapshot, annotate push, annotate pull. Catalog and person are given by the service.",
        examples=[["caption", "openmoji", "--strategy", "template", "--set", "template", "-o", "template=${title}"]],
    )


async def jobs_of(request: Request) -> Jobs:
    """The service's jobs; a dependency."""
    jobs: Jobs = request.app.state.jobs
    return jobs


ServiceJobs = Annotated[Jobs, Depends(jobs_of)]


@router.get("", operation_id="listJobs", response_model=JobsResult, responses=example({"jobs": [examples.JOB]}))
def list_jobs(request: Request, jobs: ServiceJobs) -> Response:
    """The jobs there are, and were."""
    return etag_response(request, JobsResult(jobs=jobs.all()))


@router.post("", operation_id="startJob", status_code=202)
def start_job(response: Response, jobs: ServiceJobs, caller: Writer, wish: JobRequest) -> Job:
    """Begins a job. Follow it by its events."""
    job = jobs.start(wish.command, caller.person)
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    return job


@router.get("/{name}", operation_id="getJob", responses=example(examples.JOB))
def get_job(jobs: ServiceJobs, name: str) -> Job:
    """How far a job is, or how it ended."""
    return jobs.get(name)


@router.post("/{name}/cancel", operation_id="cancelJob", status_code=202)
def cancel_job(jobs: ServiceJobs, _: Writer, name: str) -> Job:
    """Has a job stop after what it has in hand; what was finished is kept."""
    return jobs.cancel(name)


@router.post("/{name}/resume", operation_id="resumeJob", status_code=202)
def resume_job(jobs: ServiceJobs, _: Writer, name: str) -> Job:
    """The same command again: it does what is missing."""
    return jobs.resume(name)


@router.get(
    "/{name}/events",
    operation_id="followJob",
    response_class=StreamingResponse,
    responses={200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}}}}},
)
async def follow_job(jobs: ServiceJobs, name: str) -> StreamingResponse:
    """The job, each time it changes, as an event `job`; the stream ends with the job."""
    jobs.get(name)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(jobs, name), headers=headers, media_type=EVENT_STREAM)


async def _events(jobs: Jobs, name: str) -> AsyncIterator[str]:
    told, silent = "", 0.0
    while True:
        job = jobs.get(name)
        document = job.model_dump_json()
        if document != told:
            told, silent = document, 0.0
            yield f"event: job\ndata: {document}\n\n"
        elif silent >= ALIVE_SECONDS:
            silent = 0.0
            yield ": alive\n\n"
        if job.status != "running":
            return
        await asyncio.sleep(LOOK_SECONDS)
        silent += LOOK_SECONDS
