"""The line of versions of each set: commit, restore, and what differs between any two."""

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
from curator.server.web.render import query, render, telling, told
from schemas.edge.words import plural

router = APIRouter(dependencies=[Depends(needs("read"))])
ONE = "/sets/{dataset}/{caption_set}"
SHOWN = 50
MOST_SHOWN = 1_000


@router.get("/versions")
def every_set(request: Request, catalog: OpenCatalog) -> Response:
    """Every set, by dataset."""
    return render(request, "versions.html", sets=versions(catalog).sets)


@router.get(ONE)
def one_set(request: Request, catalog: OpenCatalog, dataset: str, caption_set: str) -> Response:
    """A set's line, newest first."""
    named = resolve(catalog, f"{dataset}/{caption_set}")
    named_now = resolve(catalog, f"{named.dataset}/{named.set_name}")
    lines = versions(catalog).sets
    line = next(one for one in lines if (one.dataset, one.set_name) == (named.dataset, named.set_name))
    return render(
        request,
        "set.html",
        line=line,
        name=f"{line.dataset}/{line.set_name}",
        states=[state for other in lines if other.dataset == dataset for state in _states(other)],
        seen=named_now.last_caption_id,
        said=told(request)[0],
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
    """Commits the set as it is now, if that is how it was looked at."""
    _check_seen(catalog, dataset, caption_set, seen)
    made = commit(catalog, f"{dataset}/{caption_set}", message, caller.person)
    said = f"Nothing new: it is {made.version} already." if made.unchanged else f"Committed {made.version}."
    return _back(request, dataset, caption_set, said)


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
    """Puts the set back to a version, if it is as it was looked at."""
    _check_seen(catalog, dataset, caption_set, seen)
    done = restore(catalog, f"{dataset}/{caption_set}@{number}", caller.person)
    changes = done.added + done.removed + done.changed
    said = f"The set is as {done.version} again: {plural(changes, 'caption')} put back."
    return _back(request, dataset, caption_set, said if changes else f"The set is as {done.version} already.")


@router.get("/diff")
def differences(
    request: Request,
    catalog: OpenCatalog,
    before: str,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MOST_SHOWN)] = SHOWN,
) -> Response:
    """What differs between two versions, in words."""
    found = diff(catalog, before, after or None, limit)
    states = [state for line in versions(catalog).sets for state in _states(line)]
    more = None
    if found.left_off and limit < MOST_SHOWN:
        more = query(before=found.before, after=found.after, limit=min(MOST_SHOWN, limit * 4))
    return render(request, "diff.html", result=found, states=states, more=more)


def _check_seen(catalog: Catalog, dataset: str, caption_set: str, seen: int | None) -> None:
    """`seen`: the set's last caption_id on the page (None: nobody says). Raises Overtaken."""
    now = resolve(catalog, f"{dataset}/{caption_set}").last_caption_id
    if seen not in (None, now):
        raise Overtaken(
            f"{dataset}/{caption_set}: captions changed since this page was loaded. Look at them, then try again."
        )


def _states(line: SetVersions) -> list[str]:
    """A set as it is now, and its versions, newest first."""
    name = f"{line.dataset}/{line.set_name}"
    return [name, *(f"{name}@{one.number}" for one in reversed(line.versions))]


def _back(request: Request, dataset: str, caption_set: str, said: str) -> RedirectResponse:
    address = f"/sets/{quote(dataset, safe='')}/{quote(caption_set, safe='')}"
    return RedirectResponse(f"{address}{query(**telling(request, said))}", 303)
