"""Find and replace over a set: shown first, then done, then undone if need be."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from curator.reference import check_dataset
from curator.replace import replace, undo_replace
from curator.server.access import Caller, Opened, needs
from curator.web.render import query, render, telling, told
from schemas.edge import plural
from schemas.errors import AmatlError

router = APIRouter(prefix="/datasets/{dataset}/replace", dependencies=[Depends(needs("read"))])
Annotator = Annotated[Caller, Depends(needs("annotate"))]
SHOWN = 100


@router.get("")
def ask(
    request: Request,
    catalog: Opened,
    dataset: str,
    caption_set: str = "",
    find: str = "",
    replacement: str = "",
    where: str = "",
    regex: bool = False,
    ignore_case: bool = False,
) -> Response:
    """What would change."""
    check_dataset(catalog, dataset)
    known = catalog.caption_sets()
    sets = known.filter(known["dataset"] == dataset)["set_name"].to_list()
    asked: dict[str, Any] = {
        "caption_set": caption_set, "find": find, "replacement": replacement, "where": where, "regex": regex,
        "ignore_case": ignore_case,
    }  # fmt: skip
    result, problem = None, None
    if find:
        try:
            result = _replace(catalog, dataset, **asked, dry_run=True)
        except AmatlError as error:
            problem = str(error)
    said, run = told(request)
    return render(
        request,
        "replace.html",
        422 if problem else 200,
        dataset=dataset,
        sets=sets,
        asked=asked,
        result=result,
        problem=problem,
        said=said,
        run=run,
    )


@router.post("")
def apply(
    request: Request,
    catalog: Opened,
    caller: Annotator,
    dataset: str,
    caption_set: Annotated[str, Form()],
    find: Annotated[str, Form()],
    replacement: Annotated[str, Form()] = "",
    where: Annotated[str, Form()] = "",
    regex: Annotated[bool, Form()] = False,
    ignore_case: Annotated[bool, Form()] = False,
) -> Response:
    """Replaces, as the caller's."""
    done = _replace(catalog, dataset, caption_set, find, replacement, where, regex, ignore_case, caller.person)
    changed = f"{plural(done.changed, 'caption')} changed"
    overtaken = f"; {done.overtaken:,} changed meanwhile by somebody else stay as they are" if done.overtaken else ""
    return _back(request, dataset, caption_set, f"{changed}{overtaken}.", done.run_id)


@router.post("/undo")
def undo(
    request: Request,
    catalog: Opened,
    caller: Annotator,
    dataset: str,
    caption_set: Annotated[str, Form()],
    run: Annotated[int, Form(ge=1, lt=2**62)],
) -> Response:
    """Puts back what a replace changed."""
    done = undo_replace(catalog, f"{dataset}/{caption_set}", run, caller.person)
    left = f" {done.left:,} changed since then stay as they are." if done.left else ""
    return _back(request, dataset, caption_set, f"Undone: {done.restored:,} captions are what they were.{left}", None)


def _replace(
    catalog: Opened,
    dataset: str,
    caption_set: str,
    find: str,
    replacement: str,
    where: str,
    regex: bool,
    ignore_case: bool,
    person: str | None = None,
    dry_run: bool = False,
) -> Any:
    reference = f"{dataset}/{caption_set}"
    return replace(
        catalog, reference, find, replacement, regex, ignore_case, where or None, dry_run, person, limit=SHOWN
    )


def _back(request: Request, dataset: str, caption_set: str, said: str, run: int | None) -> RedirectResponse:
    address = f"/datasets/{quote(dataset, safe='')}/replace"
    return RedirectResponse(f"{address}{query(caption_set=caption_set, **telling(request, said, run))}", 303)
