"""Turn an ingest's findings into frames for the catalog, in chunks: each chunk is one transaction."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl

from curator.catalog import Catalog
from curator.images.locations import Names
from curator.images.unusable import Reject
from curator.ingest.join import Metadata
from curator.ingest.known import KnownFile
from curator.ingest.measure import Measured
from curator.ingest.sending import Sending
from curator.ingest.walk import Entry

FILES_A_CHUNK = 2_000
SECONDS_A_CHUNK = 10.0
TEXT, WHOLE = pl.String, pl.Int64
STATUS = {"size_bytes": WHOLE, "mtime_ns": WHOLE}
IMAGES = {"sha256": TEXT, "size_bytes": WHOLE, "width_px": pl.Int32, "height_px": pl.Int32, "format": TEXT}
IMAGES |= {"has_alpha": pl.Boolean, "exif_orientation": pl.UInt8, "phash": pl.UInt64}
FILES = {"position": WHOLE, "path": TEXT, "file_name": TEXT, "image_sha256": TEXT} | STATUS
FILES |= {"metadata": TEXT, "source_url": TEXT, "license": TEXT, "gone": pl.Boolean}
REJECTS = {"path": TEXT, "reason": TEXT, "detail": TEXT} | STATUS | {"resolved": pl.Boolean}


@dataclass
class Store:
    """Collects rows and writes them in chunks; an interrupt loses the unflushed ones, never half a row.

    `root` and paths are those of this machine; `names` maps them to the catalog's. With `sending`, for a remote
    catalog, the images of a chunk arrive before its rows.
    """

    catalog: Catalog
    dataset: str
    root: str
    ingest_id: int
    names: Names
    sending: Sending | None = None
    in_chunks: bool = True  # If not, `flush` alone writes: everything in one transaction.
    rejects_written: set[tuple[str, str]] = field(default_factory=set)  # (path, reason)
    _images: dict[str, Measured] = field(default_factory=dict)
    _files: list[dict[str, Any]] = field(default_factory=list)
    _rejects: list[dict[str, Any]] = field(default_factory=list)
    _flushed_at: float = field(default_factory=time.monotonic)

    def add_picture(self, entry: Entry, measured: Measured, metadata: Metadata) -> None:
        """Add a path that was read, with its image."""
        self._images.setdefault(measured.sha256, measured)
        if self.sending:
            self.sending.add(measured.sha256, entry.path)
        self._add_file(entry.path, entry.file_name, measured.sha256, entry.size_bytes, entry.mtime_ns, metadata)

    def add_correction(self, entry: Entry, known: KnownFile, metadata: Metadata) -> None:
        """Add a path with the same image but other metadata."""
        self._add_file(entry.path, entry.file_name, known.image_sha256, entry.size_bytes, entry.mtime_ns, metadata)

    def add_gone(self, path: str, known: KnownFile) -> None:
        """Add a path that is gone, or holds no image any more."""
        self._add_file(
            path, known.file_name, known.image_sha256, known.size_bytes, known.mtime_ns, known.metadata, gone=True
        )

    def add_reject(self, reject: Reject, resolved: bool = False) -> None:
        """Add a reject, or the end of one."""
        self.rejects_written.add((reject.path, reject.reason.value))
        named = {"path": self.names.stored(reject.path), "reason": reject.reason.value, "resolved": resolved}
        self._rejects.append(asdict(reject) | named)
        self._flush_when_due()

    def flush(self) -> None:
        if self.sending:
            self.sending.finish()
        self._write()

    def keep_what_arrived(self) -> None:
        """Flush at an interrupt or error without waiting: images that are still being sent are left out."""
        if self.sending:
            left = self.sending.on_the_way()
            self._files = [row for row in self._files if row["image_sha256"] not in left]
            self._images = {sha256: image for sha256, image in self._images.items() if sha256 not in left}
        self._write()

    def _write(self) -> None:
        images = [asdict(image) for image in self._images.values()]
        for image in images:
            del image["orientation_unread"]
        files, rejects = self._files, self._rejects
        # Taken before they are written: where nobody knows whether they were, they aren't written a second time.
        self._images, self._files, self._rejects = {}, [], []
        self._flushed_at = time.monotonic()
        if files or rejects:
            self.catalog.add_files(
                self.dataset,
                self.names.stored(self.root),
                self.ingest_id,
                images=pl.DataFrame(images, schema=IMAGES, orient="row"),
                files=pl.DataFrame(files, schema=FILES, orient="row"),
                rejects=pl.DataFrame(rejects, schema=REJECTS, orient="row"),
            )

    def _add_file(
        self, path: str, name: str, sha256: str, size_bytes: int, mtime_ns: int, metadata: Metadata, gone: bool = False
    ) -> None:
        self._files.append(
            {
                "position": len(self._files) + 1,
                "path": self.names.stored(path),
                "file_name": name,
                "image_sha256": sha256,
                "size_bytes": size_bytes,
                "mtime_ns": mtime_ns,
                "metadata": metadata.text,
                "source_url": metadata.source_url,
                "license": metadata.license,
                "gone": gone,
            }
        )
        self._flush_when_due()

    def _flush_when_due(self) -> None:
        waiting = len(self._files) + len(self._rejects)
        if self.in_chunks and (waiting >= FILES_A_CHUNK or time.monotonic() - self._flushed_at > SECONDS_A_CHUNK):
            self.flush()


def metadata_files_frame(
    seen: dict[str, tuple[int, int]], gone: dict[str, tuple[int, int]], names: Names
) -> pl.DataFrame:
    """Return the new or changed metadata files of a finished ingest, and those that are gone."""
    rows = [
        {"path": names.stored(path), "size_bytes": size, "mtime_ns": mtime, "gone": files is gone}
        for files in (seen, gone)
        for path, (size, mtime) in files.items()
    ]
    return pl.DataFrame(rows, schema={"path": TEXT} | STATUS | {"gone": pl.Boolean})
