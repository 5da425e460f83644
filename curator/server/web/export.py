"""Exporting versions as a snapshot: the split is shown first, by the stage that would draw it, then a job makes it."""

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
LARGE = 100_000  # images; 50 to 120 us each, which other people's pages feel
BUSY_AFTER_SECONDS = 20.0
_previewing = threading.BoundedSemaphore(1)
PLACE = "snapshots"  # within the folder where jobs put what they make


class Asked(BaseModel):
    """The form. What was left empty is not asked for; numbers come as they were typed."""

    model_config = ConfigDict(extra="ignore")

    text: str = Field(default="", max_length=300, description="The version that trainers read as `text`.")
    also: list[str] = Field(default_factory=list, max_length=100, description="The other tracks.")
    holdout: str = Field(default="", max_length=20)
    holdout_fraction: str = Field(default="", max_length=20)
    holdout_where: str = Field(default="", max_length=2_000)
    where: str = Field(default="", max_length=2_000)
    holdout_trained: bool = False
    keep_missing: bool = False
    keep_rejected: bool = False
    folder: str = Field(default="", max_length=200)
    suggested: str = Field(default="", max_length=200, description="The folder's name that the form came with.")
    seen: str = Field(default="", max_length=64, description="The identity that was previewed.")

    @model_validator(mode="after")
    def _named_by_what_is_chosen_now(self) -> Self:
        """A name that nobody chose follows the versions: it would tell of others."""
        if self.text and self.folder and self.folder == self.suggested:
            self.folder = _folder(self)
        return self

    @property
    def references(self) -> list[str]:
        """The versions, the first one `text`."""
        return [self.text, *(one for one in self.also if one != self.text)]

    @property
    def rule(self) -> Holdout:
        """Raises BadOption for what is no number."""
        return Holdout(
            _number(int, "--holdout", self.holdout),
            _number(float, "--holdout-fraction", self.holdout_fraction),
            self.holdout_where.strip() or None,
            self.holdout_trained,
        )

    @property
    def command(self) -> list[str]:
        """The job. Values stand behind `=`, so that none is taken for an option."""
        if not FOLDER.fullmatch(self.folder):
            raise BadOption(f"Folder {self.folder!r}: a name of letters, digits, '.', '_' and '-', not a path.")
        words = ["snapshot", *self.references, f"--out={PLACE}/{self.folder}"]
        for option, value in (
            ("--holdout", self.holdout), ("--holdout-fraction", self.holdout_fraction),
            ("--holdout-where", self.holdout_where), ("--where", self.where),
        ):  # fmt: skip
            words += [f"{option}={value.strip()}"] if value.strip() else []
        flags = ("holdout_trained", "keep_missing", "keep_rejected")
        return words + [f"--{flag.replace('_', '-')}" for flag in flags if getattr(self, flag)]


@router.get("")
def ask(
    request: Request, catalog: OpenCatalog, jobs: ServiceJobs, dataset: str, asked: Annotated[Asked, Query()]
) -> Response:
    """The form; where a version is chosen, what its snapshot would be."""
    return _page(request, catalog, jobs, dataset, asked)


@router.post("")
def begin(
    request: Request,
    catalog: OpenCatalog,
    jobs: ServiceJobs,
    caller: Writer,
    dataset: str,
    asked: Annotated[Asked, Form()],
) -> Response:
    """Begins the job, if it still makes what was looked at."""
    try:
        found = _preview(catalog, jobs, dataset, asked)
        if found.identity != asked.seen:
            raise AmatlError("Meanwhile this became another snapshot: look at the split below, then export it.")
        command = asked.command
        if not any(job.status == "running" and job.command == command for job in jobs.all()):
            jobs.start(command, caller.person)
    except AmatlError as error:
        return _page(request, catalog, jobs, dataset, asked, str(error))
    return RedirectResponse("/jobs", 303)


def _page(
    request: Request, catalog: Catalog, jobs: Jobs, dataset: str, asked: Asked, problem: str | None = None
) -> Response:
    check_dataset(catalog, dataset)
    lines = [line for line in versions(catalog).sets if line.dataset == dataset and line.versions]
    result, as_job = None, ""
    if not asked.text:
        asked = _suggested(lines, asked)
    elif gallery(catalog, dataset, limit=1).total > LARGE:
        asked = asked.model_copy(update={"folder": asked.folder or _folder(asked)})
        try:
            as_job = shlex.join(asked.command)
        except AmatlError as error:
            problem = problem or str(error)
    else:
        try:
            result = _preview(catalog, jobs, dataset, asked)
        except AmatlError as error:
            problem = problem or str(error)
    names = [f"{dataset}/{line.set_name}@{one.number}" for line in lines for one in reversed(line.versions)]
    return render(
        request,
        "export.html",
        422 if problem else 200,
        dataset=dataset,
        names=names,
        asked=asked,
        folder=asked.folder or _folder(asked),
        suggested=_folder(asked),
        place=str(jobs.output_folder / PLACE),
        result=result,
        as_job=as_job,
        problem=problem,
    )


def _preview(catalog: Catalog, jobs: Jobs, dataset: str, asked: Asked) -> SnapshotPreview:
    """Raises what `curator snapshot` would; Busy where others' previews take too long."""
    if gallery(catalog, dataset, limit=1).total > LARGE:
        raise BadOption(f"Of more than {LARGE:,} images a split is worked out by a job: snapshot --dry-run.")
    for reference in asked.references:
        if not reference.startswith(f"{dataset}/"):
            raise BadOption(f"{reference[:100]}: not a version of {dataset}.")
    named = FOLDER.fullmatch(asked.folder)
    if asked.folder and not named:
        asked.command  # noqa: B018 says what is wrong with it
    out = jobs.output_folder / PLACE / asked.folder if named else None
    where = asked.where.strip() or None
    if not _previewing.acquire(timeout=BUSY_AFTER_SECONDS):
        raise Busy("Another split is being worked out. Try again in a moment.")
    try:
        return preview(catalog, asked.references, out, where, asked.rule, asked.keep_missing, asked.keep_rejected)
    finally:
        _previewing.release()


def _suggested(lines: list[SetVersions], asked: Asked) -> Asked:
    """The last version of the first set, if nothing was chosen yet."""
    names = [f"{first.dataset}/{first.set_name}@{first.versions[-1].number}" for first in lines[:1]]
    return asked.model_copy(update={"text": names[0]}) if names else asked


def _folder(asked: Asked) -> str:
    """A name by what goes into it: `zoo-human-2`, `zoo-human-2-and-1-more`."""
    name = re.sub(r"[^A-Za-z0-9_]+", "-", asked.text).strip("-") or "snapshot"
    others = len(asked.references) - 1
    return f"{name[:80]}-and-{others}-more" if others else name[:80]


def _number(kind: type, option: str, text: str) -> Any:
    try:
        return kind(text) if text.strip() else None
    except ValueError as error:
        raise BadOption(f"{option} {text}: not a number.") from error
