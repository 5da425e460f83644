"""Jobs, with progress as server-sent events."""

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
POLL_SECONDS = 0.25
KEEP_ALIVE_SECONDS = 15  # proxies close silent connections


class JobsResult(BaseModel):
    """All jobs, newest first."""

    jobs: list[Job]


class JobRequest(BaseModel):
    """A job to start."""

    command: list[str] = Field(
        min_length=1,
        max_length=200,
        description="The words of a `curator` command, without the program: ingest, caption, check, commit, compare, "
        "snapshot, annotate push, annotate pull. The service adds catalog and person.",
        examples=[["caption", "openmoji", "--strategy", "template", "--set", "template", "-o", "template=${title}"]],
    )


async def jobs_of(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.jobs
    return jobs


ServiceJobs = Annotated[Jobs, Depends(jobs_of)]


@router.get("", operation_id="listJobs", response_model=JobsResult, responses=example({"jobs": [examples.JOB]}))
def list_jobs(request: Request, jobs: ServiceJobs) -> Response:
    """Running and ended jobs."""
    return etag_response(request, JobsResult(jobs=jobs.all()))


@router.post("", operation_id="startJob", status_code=202)
def start_job(response: Response, jobs: ServiceJobs, caller: Writer, job_request: JobRequest) -> Job:
    """Start a job."""
    job = jobs.start(job_request.command, caller.person)
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    return job


@router.get("/{name}", operation_id="getJob", responses=example(examples.JOB))
def get_job(jobs: ServiceJobs, name: str) -> Job:
    """The progress or result of a job."""
    return jobs.get(name)


@router.post("/{name}/cancel", operation_id="cancelJob", status_code=202)
def cancel_job(jobs: ServiceJobs, _: Writer, name: str) -> Job:
    """Stop after the current batch; finished work is kept."""
    return jobs.cancel(name)


@router.post("/{name}/resume", operation_id="resumeJob", status_code=202)
def resume_job(jobs: ServiceJobs, _: Writer, name: str) -> Job:
    """Run the command again to do the remaining work."""
    return jobs.resume(name)


@router.get(
    "/{name}/events",
    operation_id="followJob",
    response_class=StreamingResponse,
    responses={200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}}}}},
)
async def follow_job(jobs: ServiceJobs, name: str) -> StreamingResponse:
    """An event `job` per change, until the job ends."""
    jobs.get(name)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(jobs, name), headers=headers, media_type=EVENT_STREAM)


async def _events(jobs: Jobs, name: str) -> AsyncIterator[str]:
    last_document, silent_seconds = "", 0.0
    while True:
        job = jobs.get(name)
        document = job.model_dump_json()
        if document != last_document:
            last_document, silent_seconds = document, 0.0
            yield f"event: job\ndata: {document}\n\n"
        elif silent_seconds >= KEEP_ALIVE_SECONDS:
            silent_seconds = 0.0
            yield ": alive\n\n"
        if job.status != "running":
            return
        await asyncio.sleep(POLL_SECONDS)
        silent_seconds += POLL_SECONDS
