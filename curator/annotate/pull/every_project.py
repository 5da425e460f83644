"""Pull every project of a catalog, one after the other. A failure of one doesn't stop the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from curator.annotate.label_studio.connect import connect
from curator.annotate.label_studio.project import records
from curator.annotate.pull.revisions import Rule
from curator.annotate.pull.run import PullResult
from curator.annotate.pull.run import pull as pull_one
from curator.catalog import Catalog
from schemas.errors import AmatlError, NotFound
from schemas.progress import Progress, silent


class Failure(BaseModel):
    """A project that couldn't be pulled, or that has to be put right."""

    target: str
    kind: str
    message: str


class PullAllResult(BaseModel):
    """The result of pulling several projects."""

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
    """Pull the current project of every (dataset, set, title), or of those named.

    Raise NotFound if nothing was ever pushed. A failure of one project is in the result.
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
    """Return the projects to pull: all that were pushed to, or those of a dataset or title. Raise NotFound."""
    found = [record for record in records(catalog) if record["label_studio_id"] is not None]
    named = [r for r in found if dataset in (None, r["dataset"]) and title in (None, r["title"])]
    if not named:
        there_are = ", ".join(f"{record['title']!r} of {record['dataset']}" for record in found)
        hint = (
            f"There are: {there_are}." if found else "Make one with: curator annotate push DATASET --set SET --to SET"
        )
        raise NotFound(f"There is no such project. {hint}" if found else f"Nothing was pushed yet. {hint}")
    return named
