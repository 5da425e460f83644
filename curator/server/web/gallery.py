"""The images of a dataset: pages of thumbnails, filtered, and one image with all that is known of its captions.

The image page keeps the gallery's filters in its address, so that next and previous walk through what was found.
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
FIRST_SHOWN = "show"  # the set whose captions stand below the thumbnails
FURTHER = {  # the filters that are folded away until one of them is used
    "strategy", "person", "near_duplicates", "metadata", "min_length", "max_length", "min_width", "max_width",
    "min_height", "max_height",
}  # fmt: skip


@router.get("")
def images(request: Request, catalog: OpenCatalog, dataset: str) -> Response:
    """The gallery; what can't be asked for is said above an empty one."""
    check_dataset(catalog, dataset)
    asked, problem = _asked(request), None
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
        asked=asked,
        shown=_shown(request, page),
        kept=query(**asked),
        filtered=bool({*asked} - {FIRST_SHOWN}),
        strategies=[(name, name) for name in catalog.strategies_of_dataset(dataset)],
        more=bool({*asked} & FURTHER),
    )


@router.get("/tiles")
def tiles(request: Request, catalog: OpenCatalog, dataset: str) -> Response:
    """The next page, to be put below the last."""
    page, asked = _page(catalog, dataset, request), _asked(request)
    shown = _shown(request, page)
    return render(request, "_tiles.html", dataset=dataset, page=page, asked=asked, shown=shown, kept=query(**asked))


@router.get("/images/{sha256}")
def one(request: Request, catalog: OpenCatalog, dataset: str, sha256: Sha256) -> Response:
    """An image: captions by set, history, metadata, near-duplicates; between those found before and after it."""
    facts, asked = image(catalog, dataset, sha256), _asked(request)
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
        kept=query(**asked),
        back=query(**asked, after=facts.number - 1 or None),
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
    """Gives the image this caption, as the caller's; then the image again."""
    revise(catalog, dataset, caption_set, sha256, text, caller.person, expected)
    return _again(request, dataset, sha256)


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
    """Takes back an edit, if it is still what the image has; then the image again."""
    undo_revision(catalog, dataset, caption_set, sha256, caption_id, caller.person)
    return _again(request, dataset, sha256)


def _again(request: Request, dataset: str, sha256: str) -> RedirectResponse:
    return RedirectResponse(f"/datasets/{quote(dataset, safe='')}/images/{sha256}{query(**_asked(request))}", 303)


def _page(catalog: Catalog, dataset: str, request: Request) -> GalleryResult:
    after, before = (_number(request, name) for name in ("after", "before"))
    return gallery(catalog, dataset, filters_of(request), after, before, PAGE)


def _asked(request: Request) -> dict[str, Any]:
    """The filters as they were asked, without those left empty."""
    given, asked = request.query_params, {}
    for name in (*GalleryFilters.model_fields, FIRST_SHOWN):
        values = [value for value in given.getlist(name) if value.strip()]
        if values:
            asked[name] = values if name == "metadata" else values[-1]
    return asked


def filters_of(request: Request) -> GalleryFilters:
    """The filters of its address. Raises BadOption."""
    asked = {name: value for name, value in _asked(request).items() if name != FIRST_SHOWN}
    try:
        return GalleryFilters.model_validate(asked)
    except ValidationError as error:
        raise BadOption(f"{first_problem(error)}.") from error


def _number(request: Request, name: str) -> int | None:
    given = request.query_params.get(name, "")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 19 else None


def _shown(request: Request, page: GalleryResult) -> str | None:
    """The set below the thumbnails: as asked, or that of the filter, or the first that says something of them."""
    asked = _asked(request)
    wanted = asked.get(FIRST_SHOWN) or asked.get("caption_set")
    if wanted in page.sets:
        return str(wanted)
    says = (name for name in page.sets if any(name in one.captions and one.captions[name].text for one in page.images))
    return next(says, next(iter(page.sets), None))
