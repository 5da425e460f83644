"""Home: datasets with health and next steps."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from curator.caption_sets.versions import versions
from curator.datasets import datasets
from curator.datasets.next_step import next_steps
from curator.datasets.rejected import rejects
from curator.gallery import gallery
from curator.runs import runs
from curator.server.access import OpenCatalog, needs
from curator.server.web.render import render
from curator.snapshot.recorded import snapshots

router = APIRouter(dependencies=[Depends(needs("read"))])
SHOWN = 12
STEPS_SHOWN = 4


@router.get("/")
def home(request: Request, catalog: OpenCatalog) -> Response:
    lines, snapshot_lines, run_lines = versions(catalog).sets, snapshots(catalog).snapshots, runs(catalog).runs
    sections = []
    for health in datasets(catalog).datasets:
        name = health.dataset
        counts = [sum(one.dataset == name for one in rows) for rows in (snapshot_lines, run_lines)]
        fields = [] if health.sets else catalog.metadata_fields(name)
        sections.append(
            {
                "health": health,
                "steps": next_steps(
                    health, [line for line in lines if line.dataset == name], counts[0], counts[1], fields
                ),
                "snapshots": counts[0],
                "runs": counts[1],
                "images": gallery(catalog, name, limit=SHOWN).images,
            }
        )
    return render(request, "datasets.html", datasets=sections, steps_shown=STEPS_SHOWN)


@router.get("/datasets/{dataset}/rejects")
def rejected(request: Request, catalog: OpenCatalog, dataset: str) -> Response:
    return render(request, "rejects.html", dataset=dataset, result=rejects(catalog, dataset))
