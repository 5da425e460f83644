"""The catalog's record of a folder, so that an unchanged file is not opened again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from curator.catalog import Catalog
from curator.images.locations import Names
from curator.images.unusable import Reason, Reject
from curator.ingest.join import Metadata
from curator.ingest.walk import Entry

# A file that was one of these and hasn't changed still is. (An unreadable one may have become readable without a
# change.)
LASTING = {
    Reason.ZERO_BYTE, Reason.TRUNCATED, Reason.CORRUPT, Reason.NOT_AN_IMAGE, Reason.UNSUPPORTED_FORMAT,
    Reason.TOO_LARGE,
}  # fmt: skip


class KnownFile(NamedTuple):
    """The current row of a path."""

    file_name: str
    image_sha256: str
    size_bytes: int
    mtime_ns: int
    metadata: Metadata


@dataclass
class Known:
    """A dataset's folder as its last ingest left it."""

    files: dict[str, KnownFile]
    rejects: dict[tuple[str, str], Reject]
    metadata_files: dict[str, tuple[int, int]]
    options: dict[str, Any] | None  # of the last finished ingest
    finished: bool  # no ingest of it was interrupted since

    @classmethod
    def load(cls, catalog: Catalog, dataset: str, root: Path, names: Names) -> Known:
        """Read the record of `root`, an absolute path; `names` maps paths of this machine to the catalog's."""
        stored, prefix = names.stored(str(root)), names.stored(str(root).rstrip("/") + "/")
        last = catalog.last_ingest(dataset, stored)
        frame = catalog.known_files(dataset, prefix)
        newest = frame["ingest_id"].max() if len(frame) else 0
        rejects = catalog.known_rejects(dataset, stored, prefix).iter_rows()
        seen = catalog.known_metadata_files(dataset, stored).iter_rows()
        return cls(
            files={
                names.here(path): KnownFile(name, sha256, size, mtime, Metadata(text, source_url, license_))
                for path, name, sha256, size, mtime, text, source_url, license_, _ in frame.iter_rows()
            },
            rejects={
                (names.here(path), reason): Reject(names.here(path), Reason(reason), detail, size, mtime)
                for path, reason, detail, size, mtime in rejects
            },
            metadata_files={names.here(path): (size, mtime) for path, size, mtime in seen},
            options=last["options"] if last else None,
            finished=last is not None and last["ingest_id"] >= newest,
        )

    def is_unchanged(self, entry: Entry) -> bool:
        """Return whether the path is recorded with this size and time."""
        file = self.files.get(entry.path)
        return file is not None and (file.size_bytes, file.mtime_ns) == (entry.size_bytes, entry.mtime_ns)

    def lasting_reject(self, entry: Entry, options: dict[str, Any]) -> Reject | None:
        """Return the recorded reject of an unchanged file, or None."""
        before = self.options or {}
        for reason in LASTING:
            reject = self.rejects.get((entry.path, reason))
            if reject and (reject.size_bytes, reject.mtime_ns) == (entry.size_bytes, entry.mtime_ns):
                same_limit = all(before.get(limit) == options.get(limit) for limit in ("max_pixels", "max_bytes"))
                return reject if reason is not Reason.TOO_LARGE or same_limit else None
        return None

    def metadata_unchanged(self, entry: Entry) -> bool:
        """Return whether the table or sidecar is recorded with this size and time."""
        return self.metadata_files.get(entry.path) == (entry.size_bytes, entry.mtime_ns)
