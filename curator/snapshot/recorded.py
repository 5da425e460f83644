"""List the snapshots in the catalog, and locate their files for download.

Only names that a snapshot can contain are accepted, so a request can't reach any other file on disk.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from curator.catalog import Catalog
from curator.images.locations import split
from schemas.errors import BadDocument, NotFound
from schemas.snapshot import SnapshotManifest, Track

FILES = re.compile(
    r"manifest\.json|samples\.parquet|(train|validation)/(metadata\.jsonl|[0-9a-f]{16}\.(png|jpg|webp|gif|bmp|tiff))"
)


class SnapshotLine(BaseModel):
    identity: str
    images_identity: str = Field(description="Equal if images and split are: such runs can be compared.")
    dataset: str
    tracks: list[Track]
    train: int
    held_out: int
    size_bytes: int = Field(description="Total size of the images.")
    person: str
    made_at: str
    folder: str
    here: bool = Field(description="Whether its folder is on this machine, so that it can be downloaded.")
    runs: int = Field(description="Reported training runs on it.")


class SnapshotsResult(BaseModel):
    """Newest first, each content once."""

    snapshots: list[SnapshotLine]


def snapshots(catalog: Catalog, dataset: str | None = None) -> SnapshotsResult:
    rows_by_identity: dict[str, list[dict[str, Any]]] = {}
    for row in catalog.snapshots().iter_rows(named=True):
        if dataset in (None, row["dataset"]):
            rows_by_identity.setdefault(row["identity"], []).append(row)
    runs = catalog.runs()["snapshot_identity"].to_list()
    return SnapshotsResult(snapshots=[_line(rows, runs.count(identity)) for identity, rows in rows_by_identity.items()])


def snapshot_line(catalog: Catalog, identity: str) -> SnapshotLine:
    """Raise NotFound."""
    for line in snapshots(catalog).snapshots:
        if line.identity == identity:
            return line
    raise NotFound(_unknown(identity))


def snapshot_file(catalog: Catalog, identity: str, path: str) -> Path:
    """Return the local path of a snapshot's file. Raise NotFound."""
    if not FILES.fullmatch(path):
        raise NotFound(f"{path[:100]!r} is not the name of a snapshot's file.")
    folder = _folder(catalog, identity)
    file = (folder / path).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        raise NotFound(f"{path}: snapshot {identity[:12]} has no such file.")
    return file


def _line(rows: list[dict[str, Any]], runs: int) -> SnapshotLine:
    """Summarise folders with one content: one on this machine, else the newest."""
    row = next((row for row in rows if _is_here(row)), rows[0])
    manifest = SnapshotManifest.model_validate_json(row["manifest"])
    sizes = {split: count.samples for split, count in manifest.splits.items()}
    return SnapshotLine(
        **{name: row[name] for name in ("identity", "images_identity", "dataset", "size_bytes", "person", "made_at")},
        tracks=manifest.tracks,
        train=sizes.get("train", 0),
        held_out=sizes.get("validation", 0),
        folder=row["folder"],
        here=_is_here(row),
        runs=runs,
    )


def _folder(catalog: Catalog, identity: str) -> Path:
    rows = [row for row in catalog.snapshots().iter_rows(named=True) if row["identity"] == identity]
    if not rows:
        raise NotFound(_unknown(identity))
    here = next((row for row in rows if _is_here(row)), None)
    if here is None:
        versions = " ".join(track["version"] for track in json.loads(rows[0]["manifest"])["tracks"])
        raise NotFound(
            f"Snapshot {identity[:12]} was written to {rows[0]['folder']}, which is not on the service's machine now. "
            f"Export it again: curator snapshot {versions} --out FOLDER"
        )
    return Path(here["folder"])


def _is_here(row: dict[str, Any]) -> bool:
    if split(row["folder"]):
        return False
    try:
        return SnapshotManifest.read(Path(row["folder"]) / "manifest.json").identity == str(row["identity"])
    except BadDocument:
        return False


def _unknown(identity: str) -> str:
    return (
        f"There is no snapshot {identity[:12]}. Export one with curator snapshot. If an older release of this program "
        "wrote it, run the same command again to record it."
    )
