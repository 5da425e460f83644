"""Find and replace over a set: shown first, then done, then undone if need be."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from curator.caption_sets.reference import check_dataset
from curator.caption_sets.replace import replace, undo_replace
from curator.server.access import Annotator, OpenCatalog, needs
from curator.server.web.render import query, render, telling, told
from curator.server.web.selections import kept
from schemas.edge.words import plural
from schemas.errors import AmatlError

router = APIRouter(prefix="/datasets/{dataset}/replace", dependencies=[Depends(needs("read"))])
SHOWN = 100


@router.get("")
def ask(
    request: Request,
    catalog: OpenCatalog,
    dataset: str,
    caption_set: str = "",
    find: str = "",
    replacement: str = "",
    where: str = "",
    regex: bool = False,
    ignore_case: bool = False,
    selection: str = "",
) -> Response:
    """What would change: in a set, or in the captions of images that were chosen in the gallery."""
    check_dataset(catalog, dataset)
    images = _chosen(request, dataset, selection)
    known = catalog.caption_sets()
    sets = known.filter(known["dataset"] == dataset)["set_name"].to_list()
    asked: dict[str, Any] = {
        "caption_set": caption_set, "find": find, "replacement": replacement, "where": where, "regex": regex,
        "ignore_case": ignore_case,
    }  # fmt: skip
    chosen = None if images is None else len(images)
    result, problem = None, None
    if find:
        try:
            result = _replace(catalog, dataset, **asked, images=images, dry_run=True)
        except AmatlError as error:
            problem = str(error)
    said, run = told(request)
    return render(
        request,
        "replace.html",
        422 if problem else 200,
        dataset=dataset,
        sets=sets,
        asked=asked | {"selection": selection},
        chosen=chosen,
        result=result,
        problem=problem,
        said=said,
        run=run,
    )


@router.post("")
def apply(
    request: Request,
    catalog: OpenCatalog,
    caller: Annotator,
    dataset: str,
    caption_set: Annotated[str, Form()],
    find: Annotated[str, Form()],
    replacement: Annotated[str, Form()] = "",
    where: Annotated[str, Form()] = "",
    regex: Annotated[bool, Form()] = False,
    ignore_case: Annotated[bool, Form()] = False,
    selection: Annotated[str, Form()] = "",
) -> Response:
    """Replaces, as the caller's."""
    images = _chosen(request, dataset, selection)
    done = _replace(catalog, dataset, caption_set, find, replacement, where, regex, ignore_case, images, caller.person)
    changed = f"{plural(done.changed, 'caption')} changed"
    overtaken = f"; {done.overtaken:,} changed meanwhile by somebody else stay as they are" if done.overtaken else ""
    return _back(request, dataset, caption_set, f"{changed}{overtaken}.", done.run_id, selection)


@router.post("/undo")
def undo(
    request: Request,
    catalog: OpenCatalog,
    caller: Annotator,
    dataset: str,
    caption_set: Annotated[str, Form()],
    run: Annotated[int, Form(ge=1, lt=2**62)],
    selection: Annotated[str, Form()] = "",
) -> Response:
    """Puts back what a replace changed."""
    done = undo_replace(catalog, f"{dataset}/{caption_set}", run, caller.person)
    left = f" {done.left:,} changed since then stay as they are." if done.left else ""
    said = f"Undone: {plural(done.restored, 'caption')} put back to what was there.{left}"
    return _back(request, dataset, caption_set, said, None, selection)


def _replace(
    catalog: OpenCatalog,
    dataset: str,
    caption_set: str,
    find: str,
    replacement: str,
    where: str,
    regex: bool,
    ignore_case: bool,
    images: list[str] | None,
    person: str | None = None,
    dry_run: bool = False,
) -> Any:
    reference = f"{dataset}/{caption_set}"
    return replace(
        catalog, reference, find, replacement, regex, ignore_case, where or None, dry_run, person, SHOWN, images
    )


def _chosen(request: Request, dataset: str, selection: str) -> list[str] | None:
    return kept(request).read(dataset, selection) if selection else None


def _back(
    request: Request, dataset: str, caption_set: str, said: str, run: int | None, selection: str
) -> RedirectResponse:
    address = f"/datasets/{quote(dataset, safe='')}/replace"
    asked = query(caption_set=caption_set, selection=selection, **telling(request, said, run))
    return RedirectResponse(f"{address}{asked}", 303)
