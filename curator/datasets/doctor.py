"""Compare the catalog with the disk; say for each finding what mends it.

A *problem* makes the exit code 1: a missing or changed image, an interrupted ingest, a version whose captions don't
give its digest. A *note* is for the user to judge: rejects, missing captions, near-duplicates, uncommitted captions.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import click
from pydantic import BaseModel, Field

from curator.caption_sets.versions import captions_digest, versions
from curator.catalog import Catalog
from curator.datasets.file_state import files_state
from curator.images.locations import names, split
from curator.ingest import DEFAULT_MAX_PIXELS
from schemas.edge.words import plural
from schemas.progress import Progress, silent

EXAMPLES_KEPT = 5


class Finding(BaseModel):
    """One thing found."""

    code: str = Field(description="Short and lasting: missing-files, changed-files, ...")
    level: Literal["problem", "note"]
    dataset: str
    count: int
    message: str
    examples: list[str] = Field(default=[], description="Some of what it is about.")
    mend: str | None = Field(default=None, description="The command, or the words, that put it right.")


class DatasetFigures(BaseModel):
    """The size of a dataset."""

    dataset: str
    images: int
    paths: int


class DoctorResult(BaseModel):
    """The state of the catalog."""

    catalog: str
    schema_number: int
    healthy: bool = Field(description="No problem was found; notes may have been.")
    datasets: list[DatasetFigures]
    findings: list[Finding]


def doctor(catalog: Catalog, progress: Progress = silent) -> DoctorResult:
    """Check every dataset; list problems first. Opens no image: a changed file is told by size and time."""
    names = catalog.dataset_names()
    counts = {name: catalog.dataset_counts(name) for name in names}
    findings = [finding for name in names for finding in _check(catalog, name, counts[name], progress)]
    return DoctorResult(
        catalog=catalog.name,
        schema_number=catalog.schema_number(),
        healthy=all(finding.level == "note" for finding in findings),
        datasets=[
            DatasetFigures(dataset=name, images=count["images"], paths=count["paths"]) for name, count in counts.items()
        ],
        findings=sorted(findings, key=lambda finding: finding.level == "note"),
    )


def account(result: DoctorResult) -> str:
    """Return the findings as text, each with what mends it."""
    held = (
        ", ".join(f"{figures.dataset} ({figures.images:,} images)" for figures in result.datasets) or "no datasets yet"
    )
    lines = [f"{click.style(result.catalog, bold=True)}: schema {result.schema_number}, {held}", ""]
    for finding in result.findings:
        colour = "red" if finding.level == "problem" else "yellow"
        lines.append(f"{click.style(finding.level, fg=colour, bold=True)}: {finding.message}")
        lines += [f"    {example}" for example in finding.examples]
        if len(finding.examples) < finding.count and finding.examples:
            lines.append(f"    ... and {finding.count - len(finding.examples):,} more")
        if finding.mend:
            lines.append(f"  {click.style('mend:', dim=True)} {finding.mend}")
    problems = sum(finding.level == "problem" for finding in result.findings)
    verdict = click.style("Healthy.", fg="green") if result.healthy else f"{plural(problems, 'problem')} to mend."
    return "\n".join([*lines, *([""] if result.findings else []), verdict])


def _check(catalog: Catalog, dataset: str, counts: dict[str, int], progress: Progress) -> Iterator[Finding]:
    again = _ingest_commands(catalog, dataset)
    yield from _files(catalog, dataset, again, progress)
    if unfinished := catalog.unfinished_files(dataset):
        message = f"{dataset}: an ingest was interrupted; {plural(unfinished, 'path')} it wrote may lack metadata."
        yield _problem("interrupted-ingest", dataset, unfinished, message, again)
    yield from _versions(catalog, dataset)
    yield from _notes(catalog, dataset, counts)


def _files(catalog: Catalog, dataset: str, again: str, progress: Progress) -> Iterator[Finding]:
    """Yield findings for recorded paths that are missing, or have another size or time."""
    state = files_state(catalog, dataset, progress)
    for code, what, paths in (("missing-files", "missing", state.missing), ("changed-files", "changed", state.changed)):
        if paths:
            message = f"{dataset}: {plural(len(paths), 'file')} {what} since the ingest."
            yield _problem(code, dataset, len(paths), message, again, paths[:EXAMPLES_KEPT])


def _versions(catalog: Catalog, dataset: str) -> Iterator[Finding]:
    """Yield findings for versions whose captions don't give their digest."""
    for version in catalog.versions().filter(dataset=dataset).iter_rows(named=True):
        texts = catalog.caption_texts(dataset, version["set_name"], version["last_caption_id"])
        if captions_digest(texts) != version["digest"]:
            name = f"{dataset}/{version['set_name']}@{version['number']}"
            message = f"{name}: its captions aren't those it was committed with; the catalog file was altered."
            yield _problem("digest-mismatch", dataset, 1, message, "put back a copy of the catalog from before")


def _problem(code: str, dataset: str, count: int, message: str, mend: str, examples: Sequence[str] = ()) -> Finding:
    return Finding(
        code=code, level="problem", dataset=dataset, count=count, message=message, mend=mend, examples=list(examples)
    )


def _notes(catalog: Catalog, dataset: str, counts: dict[str, int]) -> Iterator[Finding]:
    def note(code: str, count: int, message: str, mend: str | None) -> Finding:
        return Finding(code=code, level="note", dataset=dataset, count=count, message=f"{dataset}{message}", mend=mend)

    if not counts["images"]:
        yield note("no-images", 0, ": holds no image.", f"curator ingest FOLDER --dataset {dataset}")
    if counts["rejects"]:
        message = f": {plural(counts['rejects'], 'reject')}."
        yield note("rejects", counts["rejects"], message, f"curator rejects {dataset}")
    for name, images, lacking in catalog.caption_coverage(dataset).iter_rows():
        if lacking:
            message = f"/{name}: {lacking:,} of {plural(images, 'image')} without a caption."
            yield note("without-caption", lacking, message, "run its strategy again: it captions what is missing")
    for found in versions(catalog).sets:
        if found.dataset == dataset and found.uncommitted:
            message = f"/{found.set_name}: {plural(found.uncommitted, 'caption')} not committed."
            mend = f'curator commit {dataset}/{found.set_name} -m "draft"'
            yield note("uncommitted", found.uncommitted, message, mend)
    if counts["near_duplicate_groups"]:
        groups = plural(counts["near_duplicate_groups"], "group")
        message = f": {plural(counts['near_duplicate_images'], 'image')} in {groups} of near-duplicates."
        message += " A split keeps each group together."
        yield note("near-duplicates", counts["near_duplicate_images"], message, None)


def _ingest_commands(catalog: Catalog, dataset: str) -> str:
    """Return the ingests that bring a dataset up to date, as they were called; `curator moved` if a folder is gone."""
    here, commands, gone = names(catalog), [], False
    for root, options in catalog.ingested_folders(dataset).items():
        if here.is_here(root) and not Path(here.here(root)).is_dir():
            commands.append(shlex.join(["curator", "moved", here.here(root), "NEW"]))
            gone = True
        else:
            commands.append(_ingest_command(root, dataset, options))
    told = " && ".join(commands) or f"curator ingest FOLDER --dataset {dataset}"
    return f"{told}  (NEW is where the folder is now)" if gone else told


def _ingest_command(root: str, dataset: str, options: dict[str, Any]) -> str:
    there = split(root)
    words = ["curator", "ingest", there[1] if there else root, "--dataset", dataset]
    if options.get("metadata"):
        words += ["--metadata", options["metadata"], "--join-on", options["join_on"]]
    if options.get("max_pixels", DEFAULT_MAX_PIXELS) != DEFAULT_MAX_PIXELS:
        words += ["--max-pixels", str(options["max_pixels"])]
    return shlex.join(words) + (f" (on {there[0]}, with --server URL)" if there else "")
