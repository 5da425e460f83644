"""Label Studio projects: progress, disagreements, answers to pull."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from curator.annotate.disagreements import Disagreement, disagreements, settle
from curator.annotate.status import StatusResult, status
from curator.caption_sets.reference import check_dataset
from curator.caption_sets.revise import LONGEST
from curator.catalog import Catalog
from curator.server.access import Annotator, OpenCatalog, needs
from curator.server.web.render import notice_parameters, query, read_notice, render
from schemas.errors import AmatlError, NotFound

router = APIRouter(dependencies=[Depends(needs("read"))])
SHOWN = 20


@router.get("/annotation")
def annotation(request: Request, catalog: OpenCatalog) -> Response:
    result, problem, projects = None, None, catalog.annotation_projects().to_dicts()
    try:
        result = status(catalog)
    except NotFound:
        pass  # nothing was pushed yet; the page shows how
    except AmatlError as error:
        problem = str(error)
    return render(
        request,
        "annotation.html",
        result=result,
        problem=problem,
        disputes=_disagreements(catalog, result),
        tasks={row["project_key"]: f"{row['url']}/projects/{row['label_studio_id']}/data?task=" for row in projects},
        shown=SHOWN,
        notice=read_notice(request)[0],
    )


@router.post("/annotation/settle")
def settle_one(
    request: Request,
    catalog: OpenCatalog,
    caller: Annotator,
    dataset: Annotated[str, Form()],
    target: Annotated[str, Form()],
    image: Annotated[str, Form(pattern="^[0-9a-f]{64}$")],
    expected: Annotated[int | None, Form()],
    text: Annotated[str, Form(max_length=LONGEST)] = "",
) -> Response:
    """Make one of people's captions the caller's decision."""
    check_dataset(catalog, dataset)
    settle(catalog, dataset, target, image, text, expected, caller.person)
    return RedirectResponse(
        f"/annotation{query(**notice_parameters(request, 'Settled. The caption is yours now.'))}", 303
    )


def _disagreements(catalog: Catalog, result: StatusResult | None) -> dict[str, list[Disagreement]]:
    """Return them by `dataset/set`; several projects may refine one set."""
    by_target: dict[str, list[Disagreement]] = {}
    for project in result.projects if result else []:
        dataset, _, name = project.target.rpartition("/")
        if project.target not in by_target and project.disagreements:
            by_target[project.target] = disagreements(catalog, dataset, name)
    return by_target
