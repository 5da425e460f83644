"""Run records posted by trainers: stored and listed with the snapshots and versions they came from.

A record is the trainer's run.json, byte for byte. Sample grids are stored by content in a folder of the service; only
grids that a record names are accepted.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from curator.catalog import Catalog
from schemas.document import first_problem, write_atomically
from schemas.errors import BadDocument, ChecksumMismatch, NotFound
from schemas.exchange import RunReceipt, pictures, record_digest, run_key
from schemas.run import RunReport

SIGNATURES = {rb"\x89PNG\r\n\x1a\n": "image/png", rb"\xff\xd8\xff": "image/jpeg", rb"RIFF....WEBP": "image/webp"}
_writing = threading.Lock()


class RunLine(BaseModel):
    """A run, by its last record."""

    run_key: str = Field(description="Which run; what it is asked for by.")
    digest: str = Field(description="Of its last report.")
    name: str
    status: str
    snapshot_identity: str
    dataset: str
    captions: str = Field(description="The track, or mix of tracks, trained on.")
    versions: list[str] = Field(description="Of those tracks, as `dataset/set@n`.")
    base: str
    method: str
    epochs: int
    checkpoints: int
    started_at: str
    updated_at: str
    person: str
    posted_at: str


class RunsResult(BaseModel):
    """The runs, the last one posted first."""

    runs: list[RunLine]


class RunResult(BaseModel):
    """A run: its record, and which of its grids are here."""

    run_key: str
    digest: str
    person: str
    posted_at: str
    pictures: list[str] = Field(description="SHA-256 of each grid that is here.")
    missing: list[str] = Field(description="Of those that the trainer hasn't sent.")
    report: RunReport


def runs(catalog: Catalog, snapshot: str | None = None) -> RunsResult:
    made: dict[str, dict[str, str]] = {}
    for row in catalog.snapshots().iter_rows(named=True):
        tracks = json.loads(row["manifest"])["tracks"]
        made.setdefault(row["identity"], {track["name"]: track["version"] for track in tracks})
    lines = [
        RunLine(**row, versions=_versions(row["captions"], made.get(row["snapshot_identity"], {})))
        for row in catalog.runs(snapshot).iter_rows(named=True)
    ]
    return RunsResult(runs=lines)


def run(catalog: Catalog, name: str, folder: Path) -> RunResult:
    """Return a run by its key, or a record by its digest. `folder` holds the grids. Raises NotFound."""
    row, record = _record(catalog, name)
    names = [file.sha256 for file in pictures(record)]
    here = [sha256 for sha256 in names if (folder / sha256).is_file()]
    return RunResult(
        **{field: row[field] for field in ("run_key", "digest", "person", "posted_at")},
        pictures=here,
        missing=[sha256 for sha256 in names if sha256 not in here],
        report=record,
    )


def receive_record(catalog: Catalog, content: bytes, person: str, folder: Path) -> RunReceipt:
    """Store a trainer's run.json unchanged; if it is there already, return what is still missing.

    Raises BadDocument; NotFound if the snapshot isn't of this catalog.
    """
    try:
        record = RunReport.model_validate_json(content)
    except ValidationError as error:
        raise BadDocument(f"The run report can't be read: {first_problem(error)}.") from error
    identity = record.snapshot.identity
    if identity not in set(catalog.snapshots()["identity"]):
        raise NotFound(
            f"{record.name}: trained on snapshot {identity[:12]} of {record.snapshot.dataset}, which isn't known here. "
            "Post it to the service the snapshot came from."
        )
    digest, key = record_digest(content), run_key(record)
    before = catalog.run_report(key)
    unchanged = before is not None and before["digest"] == digest
    if not unchanged:
        catalog.add_run_report(
            digest, key, record.name, identity, record.captions, record.status, content.decode(), person
        )
    missing = [file.sha256 for file in pictures(record) if not (folder / file.sha256).is_file()]
    return RunReceipt(digest=digest, run=key, name=record.name, unchanged=unchanged, missing=missing)


def receive_picture(catalog: Catalog, name: str, sha256: str, content: bytes, folder: Path) -> None:
    """Store a grid of a record. Raises NotFound if the record doesn't name it, ChecksumMismatch, BadDocument."""
    _, record = _record(catalog, name)
    named = {file.sha256: file for file in pictures(record)}
    if sha256 not in named:
        raise NotFound(f"{record.name}: its record names no grid {sha256[:12]}.")
    if len(content) != named[sha256].size_bytes or hashlib.sha256(content).hexdigest() != sha256:
        raise ChecksumMismatch(f"{named[sha256].path}: not the bytes that the report names. Send it again.")
    if picture_type(content) is None:
        raise BadDocument(f"{named[sha256].path}: no PNG, JPEG or WebP.")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _writing:
        write_atomically(folder / sha256, content)


def run_picture(catalog: Catalog, name: str, sha256: str, folder: Path) -> Path:
    """Return the file of a grid that a record names. Raises NotFound."""
    _, record = _record(catalog, name)
    file = folder / sha256
    if sha256 not in {one.sha256 for one in pictures(record)} or not file.is_file():
        raise NotFound(f"{record.name}: its grid {sha256[:12]} isn't here. Send it with: trainer post")
    return file


def picture_type(content: bytes) -> str | None:
    """Return the media type by the first bytes; None for types that aren't shown."""
    return next((kind for start, kind in SIGNATURES.items() if re.match(start, content, re.DOTALL)), None)


def _record(catalog: Catalog, name: str) -> tuple[dict[str, Any], RunReport]:
    row = catalog.run_report(name)
    if row is None:
        raise NotFound(f"There is no run {name[:12]} here. trainer post RUN --to ADDRESS posts one.")
    return row, RunReport.model_validate_json(row["report"])


def _versions(captions: str, made: dict[str, str]) -> list[str]:
    """Return the versions of a track or a mix (`template:0.7,human:0.3`) that are in the snapshot."""
    names = [captions] if captions in made else [part.partition(":")[0] for part in captions.split(",")]
    return [made[name] for name in names if name in made]
