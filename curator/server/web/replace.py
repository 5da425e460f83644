"""Find and replace in a set: preview, apply, undo."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from curator.caption_sets.reference import check_dataset
from curator.caption_sets.replace import replace, undo_replace
from curator.server.access import Annotator, OpenCatalog, needs
from curator.server.web.render import notice_parameters, query, read_notice, render
from curator.server.web.selections import selections_of
from schemas.edge.words import plural
from schemas.errors import AmatlError

router = APIRouter(prefix="/datasets/{dataset}/replace", dependencies=[Depends(needs("read"))])
SHOWN = 100


@router.get("")
def show(
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
    check_dataset(catalog, dataset)
    images = _selected(request, dataset, selection)
    rows = catalog.caption_sets()
    sets = rows.filter(rows["dataset"] == dataset)["set_name"].to_list()
    form: dict[str, Any] = {
        "caption_set": caption_set, "find": find, "replacement": replacement, "where": where, "regex": regex,
        "ignore_case": ignore_case,
    }  # fmt: skip
    result, problem = None, None
    if find:
        try:
            result = _replace(catalog, dataset, **form, images=images, dry_run=True)
        except AmatlError as error:
            problem = str(error)
    notice, run = read_notice(request)
    return render(
        request,
        "replace.html",
        422 if problem else 200,
        dataset=dataset,
        sets=sets,
        form=form | {"selection": selection},
        chosen=None if images is None else len(images),
        result=result,
        problem=problem,
        notice=notice,
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
    images = _selected(request, dataset, selection)
    done = _replace(catalog, dataset, caption_set, find, replacement, where, regex, ignore_case, images, caller.person)
    changed = f"{plural(done.changed, 'caption')} changed"
    overtaken = f"; {done.overtaken:,} that somebody else changed meanwhile stay as they are" if done.overtaken else ""
    return _redirect(request, dataset, caption_set, f"{changed}{overtaken}.", done.run_id, selection)


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
    done = undo_replace(catalog, f"{dataset}/{caption_set}", run, caller.person)
    left = f" {done.left:,} changed since then stay as they are." if done.left else ""
    notice = f"Undone: {plural(done.restored, 'caption')} restored.{left}"
    return _redirect(request, dataset, caption_set, notice, None, selection)


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


def _selected(request: Request, dataset: str, selection: str) -> list[str] | None:
    return selections_of(request).read(dataset, selection) if selection else None


def _redirect(
    request: Request, dataset: str, caption_set: str, notice: str, run: int | None, selection: str
) -> RedirectResponse:
    address = f"/datasets/{quote(dataset, safe='')}/replace"
    parameters = query(caption_set=caption_set, selection=selection, **notice_parameters(request, notice, run))
    return RedirectResponse(f"{address}{parameters}", 303)
