"""How each Label Studio project stands: what is done, by whom, where people disagree, what is there to bring back."""

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
from curator.server.web.render import query, render, telling, told
from schemas.errors import AmatlError, NotFound

router = APIRouter(dependencies=[Depends(needs("read"))])
SHOWN = 20


@router.get("/annotation")
def annotation(request: Request, catalog: OpenCatalog) -> Response:
    result, problem, projects = None, None, catalog.annotation_projects().to_dicts()
    try:
        result = status(catalog)
    except NotFound:
        pass  # nothing was pushed yet: the page says how
    except AmatlError as error:
        problem = str(error)
    return render(
        request,
        "annotation.html",
        result=result,
        problem=problem,
        disputes=_disputes(catalog, result),
        tasks={row["project_key"]: f"{row['url']}/projects/{row['label_studio_id']}/data?task=" for row in projects},
        shown=SHOWN,
        said=told(request)[0],
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
    """Makes one of the captions that people gave the image what it has, as the caller's word on it."""
    check_dataset(catalog, dataset)
    settle(catalog, dataset, target, image, text, expected, caller.person)
    return RedirectResponse(f"/annotation{query(**telling(request, 'Settled. The caption is yours now.'))}", 303)


def _disputes(catalog: Catalog, result: StatusResult | None) -> dict[str, list[Disagreement]]:
    """By `dataset/set`, each once however many projects refine into it."""
    found: dict[str, list[Disagreement]] = {}
    for one in result.projects if result else []:
        dataset, _, name = one.target.rpartition("/")
        if one.target not in found and one.disagreements:
            found[one.target] = disagreements(catalog, dataset, name)
    return found
