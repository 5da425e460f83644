"""List what an ingest couldn't use, why, and what to do about it."""

from __future__ import annotations

import os
from collections import Counter
from itertools import groupby

import click
from pydantic import BaseModel, Field

from curator.catalog import Catalog
from schemas.errors import BadOption, NotFound

# What a person can do about each reason; a test holds this equal to curator.images.unusable.Reason.
REMEDIES = {
    "zero-byte": "fetch them again from where they came",
    "truncated": "fetch them again from where they came",
    "corrupt": "fetch them again from where they came",
    "not-an-image": "move them out of the folder, or give a metadata table with --metadata",
    "unsupported-format": "convert them",
    "too-large": "make them smaller, or raise --max-pixels",
    "unreadable": "give yourself the right to read them",
    "row-without-image": "add the image, or remove the row",
    "image-without-row": "add a row, or leave it: the images are kept, without the table's metadata",
    "bad-row": "mend the line",
    "bad-table": "mend the table",
    "duplicate-row": "take one of the rows out",
}


class RejectLine(BaseModel):
    """One reject that stands."""

    dataset: str
    path: str = Field(description="The file, or a metadata table and its line: table.csv:12.")
    reason: str
    detail: str
    root: str = Field(description="The ingested folder.")


class RejectsResult(BaseModel):
    """The rejects that still stand."""

    rejects: int
    by_reason: dict[str, int]
    lines: list[RejectLine]


def rejects(catalog: Catalog, dataset: str | None = None, reason: str | None = None) -> RejectsResult:
    """Return rejects, by dataset and reason (None: all). Raises NotFound, BadOption."""
    if reason is not None and reason not in REMEDIES:
        raise BadOption(f"--reason {reason}: not a reason. One of: {', '.join(REMEDIES)}.")
    datasets = catalog.dataset_names()
    if dataset is not None and dataset not in datasets:
        known = f"There are: {', '.join(datasets)}." if datasets else "There are none; see: curator ingest --help"
        raise NotFound(f"There is no dataset {dataset}. {known}")
    rows = catalog.standing_rejects(dataset).to_dicts()
    lines = [RejectLine(**row) for row in rows if reason in (None, row["reason"])]
    return RejectsResult(rejects=len(lines), by_reason=Counter(line.reason for line in lines), lines=lines)


def account(result: RejectsResult, limit: int) -> str:
    """Return the rejects as text by dataset and reason, at most `limit` of each (0: all), with what to do."""
    if not result.lines:
        return "No rejects."
    out: list[str] = []
    for (dataset, reason), group in groupby(result.lines, key=lambda line: (line.dataset, line.reason)):
        lines = list(group)
        shown = lines[: limit or None]
        head = click.style(f"{dataset}: {reason}", bold=True) + f"  {len(lines):,}"
        out += [f"{head}  ({REMEDIES[reason]})", *_rows(shown)]
        if len(shown) < len(lines):
            out.append(f"  ... and {len(lines) - len(shown):,} more; all of them with --limit 0")
        out.append("")
    return "\n".join(out).rstrip()


def _rows(lines: list[RejectLine]) -> list[str]:
    """Return a line per reject, with paths relative to the ingested folder."""
    names = [line.path.removeprefix(line.root.rstrip(os.sep) + os.sep) for line in lines]
    width = min(max(map(len, names)), 48)
    return [f"  {name:<{width}}  {click.style(line.detail, dim=True)}" for name, line in zip(names, lines, strict=True)]
