"""Lists the snapshots that the catalog knows of, and finds the files of one, for those who download it.

A file is named by the snapshot's identity and its place there. Only names that a snapshot can hold are looked for, and
only within its folder: no path from outside reaches the disk otherwise.
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
    """A snapshot that the catalog knows of."""

    identity: str
    images_identity: str = Field(description="Equal where images and split are: runs on them can be compared.")
    dataset: str
    tracks: list[Track]
    train: int
    held_out: int
    size_bytes: int = Field(description="Of the images.")
    person: str
    made_at: str
    folder: str
    here: bool = Field(description="Its folder is on this machine, so that it can be downloaded.")
    runs: int = Field(description="Runs on it that were reported.")


class SnapshotsResult(BaseModel):
    """The snapshots, newest first; each content once."""

    snapshots: list[SnapshotLine]


def snapshots(catalog: Catalog, dataset: str | None = None) -> SnapshotsResult:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in catalog.snapshots().iter_rows(named=True):
        if dataset in (None, row["dataset"]):
            found.setdefault(row["identity"], []).append(row)
    runs = catalog.runs()["snapshot_identity"].to_list()
    return SnapshotsResult(snapshots=[_line(rows, runs.count(identity)) for identity, rows in found.items()])


def snapshot_line(catalog: Catalog, identity: str) -> SnapshotLine:
    """One snapshot. Raises NotFound."""
    for line in snapshots(catalog).snapshots:
        if line.identity == identity:
            return line
    raise NotFound(_unknown(identity))


def snapshot_file(catalog: Catalog, identity: str, path: str) -> Path:
    """A file of a snapshot on this machine. Raises NotFound saying what isn't there."""
    if not FILES.fullmatch(path):
        raise NotFound(f"{path[:100]!r}: no snapshot holds a file of that name.")
    folder = _folder(catalog, identity)
    file = (folder / path).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        raise NotFound(f"{path}: snapshot {identity[:12]} has no such file.")
    return file


def _line(rows: list[dict[str, Any]], runs: int) -> SnapshotLine:
    """Of several folders with the same content, one that is here, else the newest."""
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
            f"Snapshot {identity[:12]} was made at {rows[0]['folder']}; on the service's machine it isn't there now. "
            f"Make it again: curator snapshot {versions} --out FOLDER"
        )
    return Path(here["folder"])


def _is_here(row: dict[str, Any]) -> bool:
    if split(row["folder"]):
        return False
    try:
        there = SnapshotManifest.read(Path(row["folder"]) / "manifest.json")
    except BadDocument:
        return False
    return there.identity == str(row["identity"])


def _unknown(identity: str) -> str:
    return (
        f"There is no snapshot {identity[:12]} here. curator snapshot makes one; of one made before the catalog kept "
        "them, the same command makes it known."
    )
