"""Versions of each set: commit, restore, diff."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Path, Query, Request, Response
from fastapi.responses import RedirectResponse

from curator.caption_sets.diff import diff
from curator.caption_sets.reference import resolve
from curator.caption_sets.revise import Overtaken
from curator.caption_sets.versions import SetVersions, commit, restore, versions
from curator.catalog import Catalog
from curator.server.access import Annotator, OpenCatalog, needs
from curator.server.web.render import notice_parameters, query, read_notice, render
from schemas.edge.words import plural

router = APIRouter(dependencies=[Depends(needs("read"))])
ONE = "/sets/{dataset}/{caption_set}"
SHOWN = 50
MAX_SHOWN = 1_000


@router.get("/versions")
def every_set(request: Request, catalog: OpenCatalog) -> Response:
    return render(request, "versions.html", sets=versions(catalog).sets)


@router.get(ONE)
def one_set(request: Request, catalog: OpenCatalog, dataset: str, caption_set: str) -> Response:
    reference = resolve(catalog, f"{dataset}/{caption_set}")
    current = resolve(catalog, f"{reference.dataset}/{reference.set_name}")
    lines = versions(catalog).sets
    line = next(one for one in lines if (one.dataset, one.set_name) == (reference.dataset, reference.set_name))
    return render(
        request,
        "set.html",
        line=line,
        name=f"{line.dataset}/{line.set_name}",
        states=[state for other in lines if other.dataset == dataset for state in _states(other)],
        seen=current.last_caption_id,
        notice=read_notice(request)[0],
    )


@router.post(f"{ONE}/versions")
def commit_set(
    request: Request,
    catalog: OpenCatalog,
    caller: Annotator,
    dataset: str,
    caption_set: str,
    message: Annotated[str, Form(max_length=1_000)] = "",
    seen: Annotated[int | None, Form()] = None,
) -> Response:
    """Raise Overtaken if the captions changed since the page was loaded."""
    _check_seen(catalog, dataset, caption_set, seen)
    result = commit(catalog, f"{dataset}/{caption_set}", message, caller.person)
    unchanged = f"Nothing new: the captions already equal {result.version}."
    notice = unchanged if result.unchanged else f"Committed {result.version}."
    return _redirect(request, dataset, caption_set, notice)


@router.post(f"{ONE}/versions/{{number}}/restore")
def restore_set(
    request: Request,
    catalog: OpenCatalog,
    caller: Annotator,
    dataset: str,
    caption_set: str,
    number: Annotated[int, Path(ge=1, lt=2**31)],
    seen: Annotated[int | None, Form()] = None,
) -> Response:
    """Raise Overtaken if the captions changed since the page was loaded."""
    _check_seen(catalog, dataset, caption_set, seen)
    done = restore(catalog, f"{dataset}/{caption_set}@{number}", caller.person)
    changes = done.added + done.removed + done.changed
    notice = f"The set equals {done.version} again: {plural(changes, 'caption')} restored."
    return _redirect(request, dataset, caption_set, notice if changes else f"The set already equals {done.version}.")


@router.get("/diff")
def differences(
    request: Request,
    catalog: OpenCatalog,
    before: str,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_SHOWN)] = SHOWN,
) -> Response:
    result = diff(catalog, before, after or None, limit)
    states = [state for line in versions(catalog).sets for state in _states(line)]
    more = None
    if result.left_off and limit < MAX_SHOWN:
        more = query(before=result.before, after=result.after, limit=min(MAX_SHOWN, limit * 4))
    return render(request, "diff.html", result=result, states=states, more=more)


def _check_seen(catalog: Catalog, dataset: str, caption_set: str, seen: int | None) -> None:
    """Raise Overtaken if `seen` is not the set's last caption_id."""
    now = resolve(catalog, f"{dataset}/{caption_set}").last_caption_id
    if seen not in (None, now):
        raise Overtaken(
            f"{dataset}/{caption_set}: captions changed since this page was loaded. Check them, then try again."
        )


def _states(line: SetVersions) -> list[str]:
    """Return the set and its versions, newest first."""
    name = f"{line.dataset}/{line.set_name}"
    return [name, *(f"{name}@{one.number}" for one in reversed(line.versions))]


def _redirect(request: Request, dataset: str, caption_set: str, notice: str) -> RedirectResponse:
    address = f"/sets/{quote(dataset, safe='')}/{quote(caption_set, safe='')}"
    return RedirectResponse(f"{address}{query(**notice_parameters(request, notice))}", 303)
