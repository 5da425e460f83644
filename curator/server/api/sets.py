"""Caption sets: versions, diff, statistics, checks."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, Field

from curator.caption_sets import diff as differing
from curator.caption_sets import stats as counting
from curator.caption_sets import versions as stage
from curator.caption_sets.diff import DiffResult
from curator.caption_sets.stats import StatsResult
from curator.check import run as checking
from curator.check.run import CheckResult
from curator.server.access import Annotator, OpenCatalog, needs
from curator.server.api import examples
from curator.server.api.responses import LARGEST_ID, etag_response, example

router = APIRouter(tags=["sets"], dependencies=[Depends(needs("read"))])
ONE = "/sets/{dataset}/{caption_set}"
Number = Annotated[int, Path(ge=1, le=LARGEST_ID, description="The version's number.")]
Version = Annotated[int | None, Query(ge=1, le=LARGEST_ID, description="Default: the current captions.")]


class Message(BaseModel):
    """A message that describes a version."""

    message: str = Field(min_length=1, max_length=1_000, examples=["checked by Ana"])


@router.get(
    "/sets",
    operation_id="listSets",
    response_model=stage.VersionsResult,
    responses=example({"sets": [examples.SET]}),
)
def list_sets(request: Request, catalog: OpenCatalog) -> Response:
    """All caption sets with their versions."""
    return etag_response(request, stage.versions(catalog))


@router.get(ONE, operation_id="getSet", response_model=stage.SetVersions, responses=example(examples.SET))
def get_set(request: Request, catalog: OpenCatalog, dataset: str, caption_set: str) -> Response:
    """One caption set with its versions, oldest first."""
    return etag_response(request, stage.versions(catalog, f"{dataset}/{caption_set}").sets[0])


@router.post(f"{ONE}/versions", operation_id="commitSet")
def commit(
    catalog: OpenCatalog, caller: Annotator, dataset: str, caption_set: str, body: Message
) -> stage.CommitResult:
    """Commit the current captions as the next version."""
    return stage.commit(catalog, f"{dataset}/{caption_set}", body.message, caller.person)


@router.post(f"{ONE}/versions/{{number}}/restore", operation_id="restoreVersion")
def restore(
    catalog: OpenCatalog, caller: Annotator, dataset: str, caption_set: str, number: Number
) -> stage.RestoreResult:
    """Restore a version by adding revisions; nothing is lost."""
    return stage.restore(catalog, f"{dataset}/{caption_set}@{number}", caller.person)


@router.get("/diff", operation_id="diff", response_model=DiffResult, responses=example(examples.DIFF))
def diff(
    request: Request,
    catalog: OpenCatalog,
    before: Annotated[str, Query(examples=["openmoji/human@1"], description="dataset/set@n, or dataset/set.")],
    after: Annotated[str | None, Query(description="Default: the current captions.")] = None,
    limit: Annotated[int, Query(ge=0, le=1_000, description="Most changes to list.")] = differing.LIMIT,
) -> Response:
    """Differences between two versions, word by word."""
    return etag_response(request, differing.diff(catalog, before, after, limit))


@router.get(f"{ONE}/stats", operation_id="getStats", response_model=StatsResult)
def stats(request: Request, catalog: OpenCatalog, dataset: str, caption_set: str, version: Version = None) -> Response:
    """Lengths, tokens, vocabulary, duplicates, frequent words."""
    return etag_response(request, counting.stats(catalog, _reference(dataset, caption_set, version)))


@router.get(f"{ONE}/check", operation_id="checkSet", response_model=CheckResult)
def check(
    request: Request,
    catalog: OpenCatalog,
    dataset: str,
    caption_set: str,
    version: Version = None,
    baseline: Annotated[str | None, Query(description="dataset/set@n: fail only on what is worse than there.")] = None,
) -> Response:
    """Problems with the captions."""
    return etag_response(request, checking.check(catalog, _reference(dataset, caption_set, version), baseline=baseline))


def _reference(dataset: str, caption_set: str, version: int | None) -> str:
    return f"{dataset}/{caption_set}" + (f"@{version}" if version else "")
