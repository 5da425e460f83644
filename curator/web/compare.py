"""Strategies side by side on the same images, before anyone trains on them."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from curator.compare import compare
from curator.reference import check_dataset
from curator.server.access import Opened, needs
from curator.versions import versions
from curator.web.render import render
from schemas.errors import AmatlError

router = APIRouter(dependencies=[Depends(needs("read"))])


@router.get("/compare")
def first(catalog: Opened) -> Response:
    """The comparison of the first dataset."""
    names = catalog.dataset_names()
    return RedirectResponse(f"/datasets/{quote(names[0], safe='')}/compare" if names else "/", 303)


@router.get("/datasets/{dataset}/compare")
def side_by_side(
    request: Request, catalog: Opened, dataset: str, sets: Annotated[list[str], Query(default_factory=list)]
) -> Response:
    """The chosen sets side by side; without a choice, what can be chosen."""
    check_dataset(catalog, dataset)
    lines = [line for line in versions(catalog).sets if line.dataset == dataset]
    result, problem = None, None
    if sets:
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
        problem=problem,
    )
