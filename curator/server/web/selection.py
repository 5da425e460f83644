"""Actions on chosen images: accept, restore, send to annotators."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from curator.caption_sets.accept import accept, undo_accept
from curator.caption_sets.reference import check_dataset, resolve
from curator.caption_sets.versions import restore, versions
from curator.gallery import gallery_frame
from curator.server.access import Annotator, OpenCatalog, Writer, needs
from curator.server.api.jobs import ServiceJobs
from curator.server.web.gallery import filters_of
from curator.server.web.render import notice_parameters, query, read_notice, render
from curator.server.web.selections import names_of, selections_of
from schemas.edge.words import plural
from schemas.errors import BadOption

router = APIRouter(prefix="/datasets/{dataset}/selection", dependencies=[Depends(needs("read"))])
SHOWN = 48
MAX_SENT = 1_000  # the job's command names every image


@router.post("")
def choose(
    request: Request,
    catalog: OpenCatalog,
    dataset: str,
    image: Annotated[list[str], Form(default_factory=list)],
    images: Annotated[list[str], Form(default_factory=list)],
    everything: Annotated[bool, Form()] = False,
) -> Response:
    """Store the chosen or all matching images, and redirect to their page."""
    check_dataset(catalog, dataset)
    chosen = [*image, *(one for group in images for one in group.split())]
    if everything:
        chosen = gallery_frame(catalog, dataset, filters_of(request))["sha256"].to_list()
    shown = request.query_params.get("caption_set") or request.query_params.get("show")
    name = selections_of(request).store(dataset, chosen)
    return RedirectResponse(f"/datasets/{quote(dataset, safe='')}/selection/{name}{query(caption_set=shown)}", 303)


@router.get("/{name}")
def show(request: Request, catalog: OpenCatalog, dataset: str, name: str, caption_set: str = "") -> Response:
    check_dataset(catalog, dataset)
    lines = [line for line in versions(catalog).sets if line.dataset == dataset]
    images = selections_of(request).read(dataset, name)
    line = next((one for one in lines if one.set_name == caption_set), next(iter(lines), None))
    notice, run = read_notice(request)
    person = request.state.caller.person
    return render(
        request,
        "selection.html",
        dataset=dataset,
        name=name,
        images=images,
        names=list(names_of(catalog, dataset, images[:SHOWN]).items()),
        lines=lines,
        line=line,
        preview=line and accept(catalog, f"{dataset}/{line.set_name}", images=images, dry_run=True, person=person),
        seen=resolve(catalog, f"{dataset}/{line.set_name}").last_caption_id if line else 0,
        shown=SHOWN,
        max_sent=MAX_SENT,
        notice=notice,
        run=run,
    )


@router.post("/{name}/accept")
def accept_them(
    request: Request,
    catalog: OpenCatalog,
    caller: Annotator,
    dataset: str,
    name: str,
    caption_set: Annotated[str, Form()],
    seen: Annotated[int, Form(ge=0, lt=2**62)],
) -> Response:
    """Leave out captions changed since the page was loaded."""
    images = selections_of(request).read(dataset, name)
    done = accept(catalog, f"{dataset}/{caption_set}", images=images, seen=seen, person=caller.person)
    overtaken = f" {done.overtaken:,} changed meanwhile; look at them again." if done.overtaken else ""
    notice = f"{plural(done.accepted, 'caption')} accepted.{overtaken}"
    return _redirect(request, dataset, name, caption_set, notice, done.run_id)


@router.post("/{name}/undo")
def undo(
    request: Request,
    catalog: OpenCatalog,
    caller: Annotator,
    dataset: str,
    name: str,
    caption_set: Annotated[str, Form()],
    run: Annotated[int, Form(ge=1, lt=2**62)],
) -> Response:
    done = undo_accept(catalog, f"{dataset}/{caption_set}", run, caller.person)
    left = f" {done.left:,} changed since then stay as they are." if done.left else ""
    return _redirect(request, dataset, name, caption_set, f"Undone for {plural(done.restored, 'caption')}.{left}")


@router.post("/{name}/restore")
def restore_them(
    request: Request,
    catalog: OpenCatalog,
    caller: Annotator,
    dataset: str,
    name: str,
    caption_set: Annotated[str, Form()],
    version: Annotated[int, Form(ge=1, lt=2**31)],
) -> Response:
    images = selections_of(request).read(dataset, name)
    done = restore(catalog, f"{dataset}/{caption_set}@{version}", caller.person, images)
    changes = done.added + done.removed + done.changed
    notice = f"{plural(changes, 'caption')} restored to {done.version}."
    return _redirect(
        request, dataset, name, caption_set, notice if changes else f"The captions already equal {done.version}."
    )


@router.post("/{name}/send")
def send(
    request: Request,
    jobs: ServiceJobs,
    caller: Writer,
    dataset: str,
    name: str,
    caption_set: Annotated[str, Form()],
    target: Annotated[str, Form(max_length=100)],
) -> Response:
    images = selections_of(request).read(dataset, name)
    if len(images) > MAX_SENT:
        raise BadOption(f"{len(images):,} images are chosen; at most {MAX_SENT:,} can be sent from this page.")
    listed = ", ".join(f"'{image}'" for image in images)
    options = [f"--set={caption_set}", f"--to={target.strip()}", f"--where=sha256 in ({listed})"]
    words = ["annotate", "push", dataset, *options]
    if not any(job.status == "running" and job.command == words for job in jobs.all()):
        jobs.start(words, caller.person)
    return RedirectResponse("/jobs", 303)


def _redirect(
    request: Request, dataset: str, name: str, caption_set: str, notice: str, run: int | None = None
) -> RedirectResponse:
    address = f"/datasets/{quote(dataset, safe='')}/selection/{quote(name, safe='')}"
    parameters = query(caption_set=caption_set, **notice_parameters(request, notice, run))
    return RedirectResponse(f"{address}{parameters}", 303)
