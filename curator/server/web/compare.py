"""Caption sets side by side. A job compares very large datasets."""

from __future__ import annotations

import shlex
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from curator.caption_sets.reference import check_dataset
from curator.caption_sets.versions import versions
from curator.compare import compare
from curator.compare.result import CompareResult
from curator.gallery import gallery
from curator.server.access import OpenCatalog, needs
from curator.server.api.jobs import ServiceJobs
from curator.server.web.render import render
from schemas.errors import AmatlError

LARGE = 100_000  # images; at 70 us each, more would slow down other requests
router = APIRouter(dependencies=[Depends(needs("read"))])


@router.get("/compare")
def first(catalog: OpenCatalog) -> Response:
    names = catalog.dataset_names()
    return RedirectResponse(f"/datasets/{quote(names[0], safe='')}/compare" if names else "/", 303)


@router.get("/datasets/{dataset}/compare")
def side_by_side(
    request: Request,
    catalog: OpenCatalog,
    jobs: ServiceJobs,
    dataset: str,
    sets: Annotated[list[str], Query(default_factory=list)],
) -> Response:
    check_dataset(catalog, dataset)
    lines = [line for line in versions(catalog).sets if line.dataset == dataset]
    result, problem, as_job, job = None, None, "", None
    if sets and gallery(catalog, dataset, limit=1).total > LARGE:
        command = ["compare", dataset, f"--sets={','.join(sets)}"]
        as_job = shlex.join(command)
        job = next((one for one in jobs.all() if one.command == command), None)
        result = CompareResult.model_validate(job.result) if job and job.result else None
    elif len(sets) == 1:
        problem = "Choose two or more sets."
    elif sets:
        try:
            result = compare(catalog, dataset, sets)
        except AmatlError as error:
            problem = str(error)
    return render(
        request,
        "compare.html",
        422 if problem else 200,
        dataset=dataset,
        datasets=catalog.dataset_names(),
        lines=lines,
        chosen=sets,
        result=result,
        as_job=as_job,
        job=job,
        problem=problem,
    )
