"""The identity, tracks and manifest of a snapshot, computed before writing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from curator.snapshot.files import file_ref
from curator.snapshot.select import Samples
from curator.snapshot.tracks import TrackSource, columns
from schemas import __version__
from schemas.digest import snapshot_identity
from schemas.document import now
from schemas.errors import AlreadyExists, AmatlError, BadDocument
from schemas.snapshot import SPLITS, Selection, SnapshotManifest, SplitCount, Track

UNKNOWN_LICENSE = "unknown"


@dataclass(frozen=True)
class Contents:
    dataset: str
    sources: list[TrackSource]
    samples: Samples
    identity: str
    images_identity: str
    tracks: list[Track]

    @property
    def licenses(self) -> dict[str, int]:
        return dict(sorted(Counter(self.samples.table["license"].fill_null(UNKNOWN_LICENSE)).items()))

    @property
    def split_sizes(self) -> dict[str, int]:
        return dict(Counter(self.samples.table["split"]))


def contents_of(dataset: str, sources: list[TrackSource], samples: Samples) -> Contents:
    """Raise AmatlError if two images would have the same file name."""
    table = samples.table
    if table["file_name"].n_unique() != len(table):
        raise AmatlError("Two images share the first 16 digits of their SHA-256. Leave one out with --where.")
    column = columns(sources)
    return Contents(
        dataset,
        sources,
        samples,
        snapshot_identity(_identified(samples, [source.name for source in sources])),
        snapshot_identity(_identified(samples, [])),
        [source.described(table, column[source.name]) for source in sources],
    )


def _identified(samples: Samples, tracks: list[str]) -> Iterator[tuple[str, dict[str, str | None], str]]:
    rows = samples.table.select("sha256", "split", *(f"caption.{track}" for track in tracks)).iter_rows()
    for sha256, split, *captions in rows:
        yield sha256, dict(zip(tracks, captions, strict=True)), split


def manifest_of(
    contents: Contents, folder: Path, where: str | None, holdout: str | None, person: str
) -> SnapshotManifest:
    return SnapshotManifest(
        identity=contents.identity,
        images_identity=contents.images_identity,
        dataset=contents.dataset,
        tracks=contents.tracks,
        splits={
            split: SplitCount(samples=samples, folder=split, metadata=file_ref(folder, f"{split}/metadata.jsonl"))
            for split in SPLITS
            if (samples := contents.split_sizes.get(split, 0))
        },
        selection=Selection(where=where, holdout=holdout, left_out=contents.samples.left_out),
        licenses=contents.licenses,
        samples=file_ref(folder, "samples.parquet"),
        created_at=now(),
        created_by=person,
        tool=f"curator {__version__}",
    ).sealed()


def is_already_at(contents: Contents, out: Path) -> bool:
    """Return whether `out` holds these contents with the same versions and columns.

    Raises AlreadyExists if it holds anything else, AmatlError if it lies inside another snapshot.
    """
    if parent := next((folder for folder in out.absolute().parents if _is_snapshot(folder)), None):
        raise AmatlError(f"{out}: lies inside the snapshot {parent}, which must not change. Choose another folder.")
    if not os.path.lexists(out):
        return False
    try:
        existing = SnapshotManifest.read(out / "manifest.json")
    except BadDocument as error:
        raise AlreadyExists(
            f"{out}: already exists and is not a snapshot; it isn't overwritten. Choose another name."
        ) from error
    if existing.identity == contents.identity and _names(existing.tracks) == _names(contents.tracks):
        return True
    if existing.identity == contents.identity:
        content = f"the same captions under other tracks ({', '.join(track.version for track in existing.tracks)})"
    elif existing.images_identity == contents.images_identity:
        content = "other captions of the same images"
    else:
        content = "another snapshot"
    raise AlreadyExists(
        f"{out}: holds {content}, identity {existing.identity[:16]}, not {contents.identity[:16]}; a snapshot is never "
        "overwritten. Choose another name, or remove the folder."
    )


def _is_snapshot(folder: Path) -> bool:
    try:
        SnapshotManifest.read(folder / "manifest.json")
    except BadDocument:
        return False
    return True


def _names(tracks: list[Track]) -> list[tuple[str, str, str, str]]:
    return [(track.name, track.column, track.version, track.version_digest) for track in tracks]
