"""One ingest of one folder: read new files, compare known ones, write every difference as a row."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from curator.images.unusable import Reason, Reject
from curator.ingest.join import SIDECAR_KEY, Metadata, Tables, describe, read_sidecar, read_tables
from curator.ingest.known import Known
from curator.ingest.read import read_pictures
from curator.ingest.store import Store, metadata_files_frame
from curator.ingest.walk import Entry, Listing, entry_of
from schemas.edge.words import plural
from schemas.images.orientation import in_words
from schemas.progress import Progress


class IngestRun:
    """The steps of an ingest, in one class because each of them counts and meets rejects."""

    def __init__(
        self,
        known: Known,
        listing: Listing,
        store: Store,
        table: Path | None,
        options: dict[str, Any],
        threads: int | None,
        progress: Progress,
    ) -> None:
        self.known, self.listing, self.store, self.table = known, listing, store, table
        self.options, self.threads, self.progress = options, threads, progress
        self.tally: Counter[str] = Counter()
        self.rejects: dict[tuple[str, str], Reject] = {}
        self.notes: list[str] = []
        self.unread: list[str] = []  # pictures whose EXIF is damaged
        self.present: set[str] = set()  # paths that hold a picture
        self.to_read: list[Entry] = []
        self.sources = self._sources()

    def go(self) -> None:
        """Read what is new, compare the rest, write every difference."""
        for reject in self.listing.rejects:
            self._reject(reject)
        as_before = self._sort()
        if self._nothing_changed(as_before):
            self.rejects = dict(self.known.rejects)
            self.tally["unchanged"] = len(as_before)
            return
        tables = self._read_tables()
        self.notes += tables.notes
        for reject in tables.rejects:
            self._reject(reject)
        self._read(tables)
        self._compare(as_before, tables)
        for entry in self.listing.candidates:
            tables.rows_of(entry.file_name)  # a picture that can't be used still answers its row
        for reject in tables.unused():
            self._reject(reject)
        self.notes += [*tables.notes_on_joining(self.options["join_on"]), *self._note_on_a_table_left_out()]
        if self.unread:
            self.notes.append(in_words(self.unread) + ".")
        self._gone()
        self._write_rejects()
        self.store.flush()

    def counts(self) -> dict[str, Any]:
        """Return the counts, as IngestResult names them."""
        names = ("read", "added", "changed", "corrected", "gone", "unchanged")
        reasons = Counter(reject.reason.value for reject in self.rejects.values())
        return {
            "files": len(self.listing.candidates),
            **{name: self.tally[name] for name in names},
            "rejects": len(self.rejects),
            "rejects_by_reason": dict(sorted(reasons.items())),
        }

    def metadata_files(self) -> pl.DataFrame:
        """Return the tables and sidecars that are new, changed or gone."""
        before = self.known.metadata_files
        new = {path: status for path, status in self.sources.items() if before.get(path) != status}
        gone = {path: status for path, status in before.items() if path not in self.sources}
        return metadata_files_frame(new, gone, self.store.names)

    def _sources(self) -> dict[str, tuple[int, int]]:
        """Return size and time of every table and sidecar."""
        entries = [*self.listing.tables, *self.listing.sidecars.values()]
        if self.table is not None:
            entries.append(entry_of(self.table, self.table.name))
        return {entry.path: (entry.size_bytes, entry.mtime_ns) for entry in entries}

    def _sort(self) -> list[Entry]:
        """Sort out files to read and known rejects; return the unchanged images."""
        as_before = []
        for entry in self.listing.candidates:
            if self.known.is_unchanged(entry):
                as_before.append(entry)
            elif reject := self.known.lasting_reject(entry, self.options):
                self._reject(reject)
            else:
                self.to_read.append(entry)
        return as_before

    def _nothing_changed(self, as_before: list[Entry]) -> bool:
        """Return whether images, tables, sidecars and options are as before and the last ingest was finished."""
        return (
            self.known.finished
            and not self.to_read
            and len(as_before) == len(self.known.files)
            and self.sources == self.known.metadata_files
            and self.options == self.known.options
            and self._walk_rejects_as_before()
        )

    def _walk_rejects_as_before(self) -> bool:
        """Return whether the walk met the same rejects, and all recorded ones belong to files that still exist."""
        met = {(reject.path, reject.reason.value) for reject in self.listing.rejects}
        there = {entry.path for entry in self.listing.candidates} | self.sources.keys()
        return all(key in self.known.rejects for key in met) and all(
            key in met or key[0] in there or key[0].rpartition(":")[0] in self.sources for key in self.known.rejects
        )

    def _read_tables(self) -> Tables:
        count = len(self.listing.tables) + (self.table is not None)
        if count:
            self.progress("reading metadata", 0, count)
        tables = read_tables(self.listing, self.table, self.options["join_on"])
        if count:
            self.progress("reading metadata", count, count)
        return tables

    def _read(self, tables: Tables) -> None:
        try:
            self._read_all(tables)
            self.store.flush()
        except BaseException:  # what was read is kept
            self.store.keep_what_arrived()
            raise

    def _read_all(self, tables: Tables) -> None:
        results = read_pictures(self.to_read, self.options["max_pixels"], self.threads)
        for done, (entry, result) in enumerate(results, start=1):
            self.tally["read"] += 1
            if self.store.sending and not isinstance(result, Reject):
                result = self.store.sending.refused(entry) or result
            if isinstance(result, Reject):
                self._reject(result)
                self.store.add_reject(result)
            else:
                self.present.add(entry.path)
                if result.orientation_unread:
                    self.unread.append(entry.file_name)
                before = self.known.files.get(entry.path)
                same = before is not None and before.image_sha256 == result.sha256
                self.tally["added" if before is None else "unchanged" if same else "changed"] += 1
                self.store.add_picture(entry, result, self._describe(entry, tables))
            rejects = plural(len(self.rejects), "reject") if self.rejects else ""
            self.progress("reading images", done, len(self.to_read), rejects)

    def _compare(self, as_before: list[Entry], tables: Tables) -> None:
        """Find unchanged images whose name or metadata changed."""
        for entry in as_before:
            self.present.add(entry.path)
            before, now = self.known.files[entry.path], self._describe(entry, tables)
            if (before.file_name, before.metadata) == (entry.file_name, now):
                self.tally["unchanged"] += 1
            else:
                self.tally["corrected"] += 1
                self.store.add_correction(entry, before, now)

    def _describe(self, entry: Entry, tables: Tables) -> Metadata:
        """Return an image's metadata. A missing row is a reject, but the image stays."""
        rows, lacks = tables.rows_of(entry.file_name)
        if lacks:
            self._reject(entry.reject(Reason.IMAGE_WITHOUT_ROW, "no row names it"))
        return describe(rows, self._sidecar(entry))

    def _sidecar(self, entry: Entry) -> str | None:
        """Return the text beside an image, from the record if the text file hasn't changed."""
        sidecar = self.listing.sidecars.get(entry.file_name)
        if sidecar is None:
            return None
        before = self.known.files.get(entry.path)
        if before and self.known.metadata_unchanged(sidecar):
            text = json.loads(before.metadata.text).get(SIDECAR_KEY)
            if isinstance(text, str):
                return text
        return read_sidecar(sidecar, self._reject)

    def _note_on_a_table_left_out(self) -> Iterator[str]:
        """Yield a note if images lost metadata because `--metadata` was given last time and isn't now."""
        before = (self.known.options or {}).get("metadata")
        count = self.tally["corrected"]
        if before and self.table is None and count:
            lost = plural(count, "path has", "paths have")
            yield (
                f"the last ingest read {before}, this one no --metadata: {lost} lost what it said. To have it back: "
                f"--metadata {before}"
            )

    def _gone(self) -> None:
        """End known paths that hold no image now. Files in an unreadable folder are unseen, not gone."""
        unseen = tuple(f"{folder}/" for folder in self.listing.unread_folders)
        for path, file in self.known.files.items():
            if path not in self.present and not path.startswith(unseen):
                self.tally["gone"] += 1
                self.store.add_gone(path, file)

    def _write_rejects(self) -> None:
        """Write new rejects, and the end of those that no longer stand."""
        for key, reject in self.rejects.items():
            if self.known.rejects.get(key) != reject and key not in self.store.rejects_written:
                self.store.add_reject(reject)
        for key, reject in self.known.rejects.items():
            if key not in self.rejects:
                self.store.add_reject(reject, resolved=True)

    def _reject(self, reject: Reject) -> None:
        self.rejects[reject.path, reject.reason.value] = reject
