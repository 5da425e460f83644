"""Pulls every project that a catalog has, one after the other: one that fails doesn't keep the others waiting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from curator.annotate.connect import connect
from curator.annotate.project import records
from curator.annotate.pull import PullResult
from curator.annotate.pull import pull as pull_one
from curator.annotate.revisions import Rule
from curator.catalog import Catalog
from schemas.errors import AmatlError, NotFound
from schemas.progress import Progress, silent


class Failure(BaseModel):
    """What kept a project from being pulled, or has to be put right."""

    target: str
    kind: str
    message: str


class PullAllResult(BaseModel):
    """What a pull did."""

    pulled: list[PullResult] = Field(default_factory=list)
    failures: list[Failure] = Field(default_factory=list)


def pull_all(
    catalog_path: Path,
    url: str | None = None,
    dataset: str | None = None,
    title: str | None = None,
    rule: Rule | None = None,
    person: str = "",
    progress: Progress = silent,
) -> PullAllResult:
    """Pulls the current project of every (dataset, set, title), or of those named.

    Raises NotFound where none was ever pushed; what fails for one project is told in the result.
    """
    result = PullAllResult()
    with Catalog(catalog_path) as catalog:
        for record in chosen(catalog, dataset, title):
            target = f"{record['dataset']}/{record['target_set']}"
            try:
                with connect(catalog_path, url, record["url"]) as client:
                    pulled = pull_one(catalog, client, record, rule, person, progress)
            except AmatlError as error:
                result.failures.append(Failure(target=target, kind=type(error).__name__, message=str(error)))
            else:
                result.pulled.append(pulled)
                if pulled.problem:
                    failure = Failure(target=target, kind="ConfigChanged", message=pulled.problem)
                    result.failures.append(failure)
    return result


def chosen(catalog: Catalog, dataset: str | None, title: str | None) -> list[dict[str, Any]]:
    """The projects to pull: all that something was pushed to, or of a dataset or title. Raises NotFound."""
    found = [record for record in records(catalog) if record["label_studio_id"] is not None]
    named = [r for r in found if dataset in (None, r["dataset"]) and title in (None, r["title"])]
    if not named:
        there_are = ", ".join(f"{record['title']!r} of {record['dataset']}" for record in found)
        hint = (
            f"There are: {there_are}." if found else "Make one with: curator annotate push DATASET --set SET --to SET"
        )
        raise NotFound(f"There is no such project. {hint}" if found else f"Nothing was pushed yet. {hint}")
    return named
