"""Preview a snapshot, then let a job write it."""

from __future__ import annotations

import re
import shlex
import threading
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator

from curator.caption_sets.reference import check_dataset
from curator.caption_sets.versions import SetVersions, versions
from curator.catalog import Catalog
from curator.gallery import gallery
from curator.server.access import OpenCatalog, Writer, needs
from curator.server.api.jobs import ServiceJobs
from curator.server.jobs import Jobs
from curator.server.problems import Busy
from curator.server.web.render import render
from curator.snapshot import Holdout, SnapshotPreview, preview
from schemas.errors import AmatlError, BadOption

router = APIRouter(prefix="/datasets/{dataset}/export", dependencies=[Depends(needs("read"))])
FOLDER = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
LARGE = 100_000  # images; at 50 to 120 us each, more would slow down other requests
BUSY_AFTER_SECONDS = 20.0
_previewing = threading.BoundedSemaphore(1)
SUBFOLDER = "snapshots"  # in the jobs' output folder


class ExportForm(BaseModel):
    """The fields as typed."""

    model_config = ConfigDict(extra="ignore")

    text: str = Field(default="", max_length=300, description="The version that becomes `text`.")
    also: list[str] = Field(default_factory=list, max_length=100, description="The other tracks.")
    holdout: str = Field(default="", max_length=20)
    holdout_fraction: str = Field(default="", max_length=20)
    holdout_where: str = Field(default="", max_length=2_000)
    where: str = Field(default="", max_length=2_000)
    holdout_trained: bool = False
    keep_missing: bool = False
    keep_rejected: bool = False
    folder: str = Field(default="", max_length=200)
    suggested: str = Field(default="", max_length=200, description="The folder name that the form was loaded with.")
    seen: str = Field(default="", max_length=64, description="The previewed identity.")

    @model_validator(mode="after")
    def _update_suggested_folder(self) -> Self:
        """Rename an unedited folder if other versions were chosen."""
        if self.text and self.folder and self.folder == self.suggested:
            self.folder = _folder(self)
        return self

    @property
    def references(self) -> list[str]:
        """The versions, `text` first."""
        return [self.text, *(one for one in self.also if one != self.text)]

    @property
    def rule(self) -> Holdout:
        """Raise BadOption."""
        return Holdout(
            _number(int, "--holdout", self.holdout),
            _number(float, "--holdout-fraction", self.holdout_fraction),
            self.holdout_where.strip() or None,
            self.holdout_trained,
        )

    @property
    def command(self) -> list[str]:
        """Values follow `=`, so that none is read as an option."""
        if not FOLDER.fullmatch(self.folder):
            raise BadOption(f"Folder {self.folder!r}: give a name of letters, digits, '.', '_' and '-', not a path.")
        words = ["snapshot", *self.references, f"--out={SUBFOLDER}/{self.folder}"]
        for option, value in (
            ("--holdout", self.holdout), ("--holdout-fraction", self.holdout_fraction),
            ("--holdout-where", self.holdout_where), ("--where", self.where),
        ):  # fmt: skip
            words += [f"{option}={value.strip()}"] if value.strip() else []
        flags = ("holdout_trained", "keep_missing", "keep_rejected")
        return words + [f"--{flag.replace('_', '-')}" for flag in flags if getattr(self, flag)]


@router.get("")
def show(
    request: Request, catalog: OpenCatalog, jobs: ServiceJobs, dataset: str, form: Annotated[ExportForm, Query()]
) -> Response:
    return _page(request, catalog, jobs, dataset, form)


@router.post("")
def begin(
    request: Request,
    catalog: OpenCatalog,
    jobs: ServiceJobs,
    caller: Writer,
    dataset: str,
    form: Annotated[ExportForm, Form()],
) -> Response:
    """Start the job if the snapshot is still the previewed one."""
    try:
        if _preview(catalog, jobs, dataset, form).identity != form.seen:
            raise AmatlError("Captions or images changed since this preview. Check the split below, then export.")
        command = form.command
        if not any(job.status == "running" and job.command == command for job in jobs.all()):
            jobs.start(command, caller.person)
    except AmatlError as error:
        return _page(request, catalog, jobs, dataset, form, str(error))
    return RedirectResponse("/jobs", 303)


def _page(
    request: Request, catalog: Catalog, jobs: Jobs, dataset: str, form: ExportForm, problem: str | None = None
) -> Response:
    check_dataset(catalog, dataset)
    lines = [line for line in versions(catalog).sets if line.dataset == dataset and line.versions]
    result, as_job = None, ""
    if not form.text:
        form = _with_default_version(lines, form)
    elif gallery(catalog, dataset, limit=1).total > LARGE:
        form = form.model_copy(update={"folder": form.folder or _folder(form)})
        try:
            as_job = shlex.join(form.command)
        except AmatlError as error:
            problem = problem or str(error)
    else:
        try:
            result = _preview(catalog, jobs, dataset, form)
        except AmatlError as error:
            problem = problem or str(error)
    names = [f"{dataset}/{line.set_name}@{one.number}" for line in lines for one in reversed(line.versions)]
    return render(
        request,
        "export.html",
        422 if problem else 200,
        dataset=dataset,
        names=names,
        form=form,
        folder=form.folder or _folder(form),
        suggested=_folder(form),
        output_folder=str(jobs.output_folder / SUBFOLDER),
        result=result,
        as_job=as_job,
        problem=problem,
    )


def _preview(catalog: Catalog, jobs: Jobs, dataset: str, form: ExportForm) -> SnapshotPreview:
    """Raise like `curator snapshot`, and Busy if other previews take too long."""
    if gallery(catalog, dataset, limit=1).total > LARGE:
        raise BadOption(f"{dataset} has more than {LARGE:,} images, so a job works out the split. Start it below.")
    for reference in form.references:
        if not reference.startswith(f"{dataset}/"):
            raise BadOption(f"{reference[:100]}: not a version of {dataset}.")
    is_valid = FOLDER.fullmatch(form.folder)
    if form.folder and not is_valid:
        form.command  # noqa: B018 raises the error
    out = jobs.output_folder / SUBFOLDER / form.folder if is_valid else None
    where = form.where.strip() or None
    if not _previewing.acquire(timeout=BUSY_AFTER_SECONDS):
        raise Busy("Another preview is still running. Try again in a moment.")
    try:
        return preview(catalog, form.references, out, where, form.rule, form.keep_missing, form.keep_rejected)
    finally:
        _previewing.release()


def _with_default_version(lines: list[SetVersions], form: ExportForm) -> ExportForm:
    names = [f"{first.dataset}/{first.set_name}@{first.versions[-1].number}" for first in lines[:1]]
    return form.model_copy(update={"text": names[0]}) if names else form


def _folder(form: ExportForm) -> str:
    """Suggest `zoo-human-2`, or `zoo-human-2-and-1-more`."""
    name = re.sub(r"[^A-Za-z0-9_]+", "-", form.text).strip("-") or "snapshot"
    others = len(form.references) - 1
    return f"{name[:80]}-and-{others}-more" if others else name[:80]


def _number(kind: type, option: str, text: str) -> Any:
    try:
        return kind(text) if text.strip() else None
    except ValueError as error:
        raise BadOption(f"{option} {text}: not a number.") from error
