"""A snapshot folder, verified before training; format: `schemas/spec/snapshot.md`. Needs no curator.

Sizes, SHA-256 sums, counts and identity are checked first; the first difference names its file.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from schemas.digest import sha256_file, snapshot_identity
from schemas.document import FileRef, first_problem
from schemas.errors import AmatlError, BadDocument, BadOption, ChecksumMismatch, NotFound
from schemas.progress import Progress, silent
from schemas.snapshot import SPLITS, SampleRow, SnapshotManifest, Split, manifest_digest
from trainer_client.data.fetch import local_folder
from trainer_client.data.parallel import in_threads


class BadSnapshot(AmatlError):
    """The folder isn't a complete snapshot."""


@dataclass(frozen=True)
class Row:
    """One image with its caption in each track, None if the track has none."""

    path: Path
    sha256: str
    captions: dict[str, str | None]
    width_px: int
    height_px: int


@dataclass(frozen=True)
class Snapshot:
    """An opened snapshot; rows are sorted by sha256."""

    folder: Path
    manifest: SnapshotManifest
    rows_of: dict[Split, list[Row]]
    made: frozenset[str] = frozenset()  # Tracks in memory that a run derived from others.

    @classmethod
    def open(cls, folder: Path | str, verify: bool = True, progress: Progress = silent) -> Self:
        """Read the manifest and all rows; with `verify`, check every file, the counts and the identity.

        An address is fetched into the cache first. Raise NotFound, BadDocument, BadSnapshot or ChecksumMismatch with
        the file's name, ServiceFailed.
        """
        folder = local_folder(folder, progress)
        manifest = _read_manifest(folder)
        rows_of: dict[Split, list[Row]] = {}
        images: list[tuple[Path, FileRef]] = []
        for split in SPLITS:
            rows_of[split] = []
            if split in manifest.splits:
                rows_of[split], references = _read_split(folder, manifest, split)
                images += references
        snapshot = cls(folder, manifest, rows_of)
        if verify:
            _check_seal(folder / "manifest.json", manifest.manifest_digest)
            check_file(folder / manifest.samples.path, manifest.samples)
            snapshot._check_identity()
            for _ in in_threads(lambda image: check_file(*image), images, "verifying checksums", progress):
                pass
        return snapshot

    def rows(self, split: Split) -> list[Row]:
        return self.rows_of[split]

    @property
    def tracks(self) -> list[str]:
        """Names of the caption tracks; the first is `text`."""
        return [track.name for track in self.manifest.tracks]

    def track(self, name: str | None) -> str:
        """Return the named track, or the only one. Raise BadOption, which lists the tracks."""
        listed = ", ".join(self.tracks)
        if name is None:
            if len(self.tracks) == 1:
                return self.tracks[0]
            raise BadOption(
                f"{self.folder} has {len(self.tracks)} caption tracks: choose one with --captions: {listed}."
            )
        if name not in self.tracks:
            near = difflib.get_close_matches(name, self.tracks, n=1)
            hint = f" Did you mean `{near[0]}`?" if near else ""
            raise BadOption(f"{self.folder} has no caption track `{name}`. Its tracks: {listed}.{hint}")
        return name

    def _check_identity(self) -> None:
        rows = [(row, split) for split in SPLITS for row in self.rows(split)]
        if len({row.sha256 for row, _ in rows}) < len(rows):
            raise BadSnapshot(f"{self.folder}: an image occurs twice. Export the snapshot again.")
        identities = (
            snapshot_identity((row.sha256, row.captions, split) for row, split in rows),
            snapshot_identity((row.sha256, {}, split) for row, split in rows),
        )
        if identities != (self.manifest.identity, self.manifest.images_identity):
            raise ChecksumMismatch(
                f"{self.folder / 'manifest.json'}: its identity doesn't match the images, captions and splits in"
                " the folder. Export the snapshot again."
            )


def _read_manifest(folder: Path) -> SnapshotManifest:
    path = folder / "manifest.json"
    if not folder.is_dir():
        raise NotFound(f"{folder}: there is no such folder. Export a snapshot with `curator snapshot`.")
    if not path.is_file():
        raise NotFound(f"{folder}: no manifest.json, so not a snapshot, or an unfinished export. Export it again.")
    manifest = SnapshotManifest.read(path)
    if "train" not in manifest.splits or not manifest.splits["train"].samples:
        raise BadSnapshot(f"{path}: no image to train on. Export it again with a smaller held-out set.")
    return manifest


def _check_seal(path: Path, digest: str | None) -> None:
    """Check the manifest's own digest, if it has one."""
    if digest is not None and manifest_digest(json.loads(path.read_bytes())) != digest:
        raise ChecksumMismatch(f"{path}: changed since the export. Copy the snapshot again from its source.")


def _read_split(folder: Path, manifest: SnapshotManifest, split: Split) -> tuple[list[Row], list[tuple[Path, FileRef]]]:
    """Return the rows, and the expected size and SHA-256 of each image."""
    count = manifest.splits[split]
    path = folder / count.metadata.path  # The schema refuses paths that leave the folder.
    check_file(path, count.metadata)
    rows: list[Row] = []
    references: list[tuple[Path, FileRef]] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):  # bytes.splitlines splits only at newlines
        where = f"{path}, line {number}"
        sample, columns = _parse(line, where)
        captions = {track.name: _caption(columns, track.column, where) for track in manifest.tracks}
        file = folder / count.folder / sample.file_name
        rows.append(Row(file, sample.sha256, captions, sample.width_px, sample.height_px))
        references.append((file, FileRef(path=sample.file_name, sha256=sample.sha256, size_bytes=sample.size_bytes)))
    if len(rows) != count.samples:
        raise BadSnapshot(f"{path}: {len(rows)} rows, but the manifest counts {count.samples}. Export it again.")
    return sorted(rows, key=lambda row: row.sha256), references


def _parse(line: bytes, where: str) -> tuple[SampleRow, dict[str, Any]]:
    try:
        columns = json.loads(line)
        return SampleRow.model_validate(columns), columns
    except ValidationError as error:
        raise BadDocument(f"{where}: {first_problem(error)}") from error
    except ValueError as error:
        raise BadDocument(f"{where}: not JSON ({error}).") from error


def _caption(columns: dict[str, Any], column: str, where: str) -> str | None:
    caption = columns.get(column)
    if caption is not None and not isinstance(caption, str):
        raise BadDocument(f"{where}: {column} is not text. Export the snapshot again.")
    return caption


def check_file(path: Path, reference: FileRef) -> None:
    """Raise NotFound or ChecksumMismatch unless the file matches the reference."""
    try:
        size_bytes = path.stat().st_size
        sha256 = sha256_file(path) if size_bytes == reference.size_bytes else None
    except FileNotFoundError as error:
        raise NotFound(f"{path}: missing from the snapshot. Copy or export the snapshot again.") from error
    if sha256 is None:
        what = f"{size_bytes} bytes instead of {reference.size_bytes}"
    elif sha256 != reference.sha256:
        what = f"its SHA-256 is {sha256[:12]}…, the snapshot says {reference.sha256[:12]}…"
    else:
        return
    raise ChecksumMismatch(f"{path}: changed since the export: {what}. Copy or export the snapshot again.")
