"""The gallery, and the page of one image.

The image page keeps the filters in its address, so that next and previous walk through the matches.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import ValidationError

from curator.caption_sets.history import revisions
from curator.caption_sets.reference import check_dataset
from curator.caption_sets.revise import LONGEST, revise, undo_revision
from curator.catalog import Catalog
from curator.datasets.image import image
from curator.gallery import GalleryFilters, GalleryResult, gallery
from curator.server.access import Annotator, OpenCatalog, Sha256, needs
from curator.server.web.render import query, render
from schemas.document import first_problem
from schemas.errors import AmatlError, BadOption

router = APIRouter(prefix="/datasets/{dataset}", dependencies=[Depends(needs("read"))])
PAGE = 120
SHOWN_SET = "show"  # the query parameter with the set whose captions are shown below the thumbnails
MORE_FILTERS = {  # hidden until one of them is used
    "strategy", "person", "near_duplicates", "metadata", "min_length", "max_length", "min_width", "max_width",
    "min_height", "max_height",
}  # fmt: skip


@router.get("")
def images(request: Request, catalog: OpenCatalog, dataset: str) -> Response:
    """Show an invalid filter's error above an empty gallery."""
    check_dataset(catalog, dataset)
    parameters, problem = _parameters(request), None
    try:
        page = _page(catalog, dataset, request)
    except AmatlError as error:
        page, problem = gallery(catalog, dataset, limit=1).model_copy(update={"images": [], "after": None}), str(error)
    return render(
        request,
        "gallery.html",
        422 if problem else 200,
        dataset=dataset,
        page=page,
        problem=problem,
        parameters=parameters,
        shown=_shown(request, page),
        filter_query=query(**parameters),
        filtered=bool({*parameters} - {SHOWN_SET}),
        strategies=[(name, name) for name in catalog.strategies_of_dataset(dataset)],
        more=bool({*parameters} & MORE_FILTERS),
    )


@router.get("/tiles")
def tiles(request: Request, catalog: OpenCatalog, dataset: str) -> Response:
    """Return the next tiles, which a script appends."""
    page, parameters = _page(catalog, dataset, request), _parameters(request)
    return render(
        request,
        "_tiles.html",
        dataset=dataset,
        page=page,
        parameters=parameters,
        shown=_shown(request, page),
        filter_query=query(**parameters),
    )


@router.get("/images/{sha256}")
def one(request: Request, catalog: OpenCatalog, dataset: str, sha256: Sha256) -> Response:
    facts, parameters = image(catalog, dataset, sha256), _parameters(request)
    filters = filters_of(request)
    after = gallery(catalog, dataset, filters, after=facts.number, limit=1)
    before = gallery(catalog, dataset, filters, before=facts.number, limit=1)
    captions = {caption.set_name: caption for caption in facts.captions}
    lines = [one for one in revisions(catalog, sha256) if one.dataset == dataset]
    return render(
        request,
        "image.html",
        dataset=dataset,
        image=facts,
        captions=captions,
        sets=after.sets,
        revisions=lines[::-1],
        before=before.images[-1] if before.images else None,
        after=after.images[0] if after.images else None,
        position=after.position,
        total=after.total,
        filter_query=query(**parameters),
        back=query(**parameters, after=facts.number - 1 or None),
        longest=LONGEST,
    )


@router.post("/images/{sha256}/captions/{caption_set}")
def write(
    request: Request,
    catalog: OpenCatalog,
    caller: Annotator,
    dataset: str,
    sha256: Sha256,
    caption_set: str,
    expected: Annotated[int | Literal["none"], Form()],
    text: Annotated[str, Form(max_length=LONGEST)] = "",
) -> Response:
    revise(catalog, dataset, caption_set, sha256, text, caller.person, expected)
    return _redirect(request, dataset, sha256)


@router.post("/images/{sha256}/captions/{caption_set}/undo")
def undo(
    request: Request,
    catalog: OpenCatalog,
    caller: Annotator,
    dataset: str,
    sha256: Sha256,
    caption_set: str,
    caption_id: Annotated[int, Form()],
) -> Response:
    """Undo an edit if it is still the current caption."""
    undo_revision(catalog, dataset, caption_set, sha256, caption_id, caller.person)
    return _redirect(request, dataset, sha256)


def _redirect(request: Request, dataset: str, sha256: str) -> RedirectResponse:
    return RedirectResponse(f"/datasets/{quote(dataset, safe='')}/images/{sha256}{query(**_parameters(request))}", 303)


def _page(catalog: Catalog, dataset: str, request: Request) -> GalleryResult:
    after, before = (_number(request, name) for name in ("after", "before"))
    return gallery(catalog, dataset, filters_of(request), after, before, PAGE)


def _parameters(request: Request) -> dict[str, Any]:
    """Return the parameters that are not empty."""
    parameters: dict[str, Any] = {}
    for name in (*GalleryFilters.model_fields, SHOWN_SET):
        values = [value for value in request.query_params.getlist(name) if value.strip()]
        if values:
            parameters[name] = values if name == "metadata" else values[-1]
    return parameters


def filters_of(request: Request) -> GalleryFilters:
    """Raise BadOption."""
    parameters = {name: value for name, value in _parameters(request).items() if name != SHOWN_SET}
    try:
        return GalleryFilters.model_validate(parameters)
    except ValidationError as error:
        raise BadOption(f"{first_problem(error)}.") from error


def _number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _shown(request: Request, page: GalleryResult) -> str | None:
    """Return the set whose captions are shown: requested, filtered by, or the first with a caption."""
    parameters = _parameters(request)
    requested = parameters.get(SHOWN_SET) or parameters.get("caption_set")
    if requested in page.sets:
        return str(requested)
    used = (name for name in page.sets if any(name in one.captions and one.captions[name].text for one in page.images))
    return next(used, next(iter(page.sets), None))
