"""Match metadata rows to images.

An image's metadata comes from up to three places, later ones winning column by column: the imagefolder table of its
folder or of the nearest folder above (joined on `file_name`, relative to the table), the `--metadata` table, and its
sidecar text, stored as `sidecar`.

A value of the `--metadata` column names an image by its path in the folder or its name, each with or without suffix;
the first of these that occurs counts. A row may describe several images (a key, not a path).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from curator.images.unusable import Reason, Reject
from curator.ingest.walk import Entry, Listing
from curator.tables import BadTable, Row, Table, clean_key, object_text, read_table

SIDECAR_KEY = "sidecar"
IMAGEFOLDER_COLUMN = "file_name"


@dataclass(frozen=True)
class Metadata:
    """Metadata of one path: a JSON object, and the two columns that the catalog stores."""

    text: str = "{}"
    source_url: str | None = None
    license: str | None = None


@dataclass
class Tables:
    """The metadata tables of an ingest, and which of their rows matched an image."""

    explicit: Table | None = None
    by_folder: dict[str, Table] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    @property
    def notes(self) -> list[str]:
        """Return notes about the tables."""
        return [note for table in self._all() for note in table.notes]

    def rows_of(self, file_name: str) -> tuple[list[Row], bool]:
        """Return an image's rows, the stronger last, and whether a table lacks one that it should have."""
        rows: list[Row] = []
        folder = next(
            (str(parent) for parent in PurePosixPath(file_name).parents if str(parent) in self.by_folder), None
        )
        if folder is not None:
            relative = file_name if folder == "." else file_name[len(folder) + 1 :]
            row = self.by_folder[folder].rows.get(clean_key(relative))
            rows += [row] if row else []
        lacks = folder is not None and not rows
        if self.explicit is not None:
            row = _explicit_row(self.explicit, file_name)
            lacks = lacks or row is None
            rows += [row] if row else []
        self.used.update(row.place for row in rows)
        return rows, lacks

    def unused(self) -> Iterator[Reject]:
        """Yield a reject for each row that matched no image."""
        for table in self._all():
            for key, row in table.rows.items():
                if row.place not in self.used:
                    yield Reject(row.place, Reason.ROW_WITHOUT_IMAGE, f"no image called {key!r}")

    def notes_on_joining(self, join_on: str) -> Iterator[str]:
        """Return a note if no row of the `--metadata` table matched an image: most likely the wrong column."""
        table = self.explicit
        if table and table.rows and not any(row.place in self.used for row in table.rows.values()):
            columns = ", ".join(table.columns)
            name = Path(table.path).name
            yield f"no row of {name} names an image. Is {join_on} the right column? There are: {columns}."

    def _all(self) -> list[Table]:
        return [*self.by_folder.values(), *([self.explicit] if self.explicit else [])]


def read_tables(listing: Listing, metadata: Path | None, join_on: str) -> Tables:
    """Read all tables. Raises BadTable for one given by name; an unreadable one in the folder is a reject."""
    tables = Tables()
    if metadata is not None:
        tables.explicit = read_table(metadata, join_on)
        tables.rejects += tables.explicit.rejects
    for entry in listing.tables:
        folder = str(PurePosixPath(entry.file_name).parent)
        try:
            table = read_table(Path(entry.path), IMAGEFOLDER_COLUMN)
        except BadTable as error:
            detail = str(error).removeprefix(f"{entry.path}: ")
            detail = detail.replace("Choose one with --join-on.", "Give it with --metadata and --join-on.")
            tables.rejects.append(entry.reject(Reason.BAD_TABLE, detail))
            continue
        tables.rejects += table.rejects
        if folder in tables.by_folder:
            detail = f"the folder has another table, {Path(tables.by_folder[folder].path).name}, which is used"
            tables.rejects.append(entry.reject(Reason.BAD_TABLE, detail))
        else:
            tables.by_folder[folder] = table
    return tables


def describe(rows: list[Row], sidecar: str | None) -> Metadata:
    """Merge a path's rows, the stronger last, and its sidecar text."""
    if not rows and sidecar is None:
        return Metadata()
    source_url = next((row.source_url for row in reversed(rows) if row.source_url), None)
    license_ = next((row.license for row in reversed(rows) if row.license), None)
    if len(rows) == 1 and sidecar is None:
        return Metadata(rows[0].metadata, source_url, license_)
    values = {name: value for row in rows for name, value in json.loads(row.metadata).items()}
    if sidecar is not None:
        values[SIDECAR_KEY] = sidecar
    return Metadata(object_text(values), source_url, license_)


def read_sidecar(entry: Entry, reject: Callable[[Reject], None]) -> str | None:
    """Return a sidecar's stripped text; None, and a reject, if it cannot be read."""
    try:
        return Path(entry.path).read_bytes().decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        reason, detail = Reason.BAD_ROW, f"the text isn't UTF-8 (byte {error.start})"
    except OSError as error:
        reason, detail = Reason.UNREADABLE, error.strerror or str(error)
    reject(entry.reject(reason, detail))
    return None


def _explicit_row(table: Table, file_name: str) -> Row | None:
    path = PurePosixPath(clean_key(file_name))
    for key in (str(path), str(path.with_suffix("")), path.name, path.stem):
        if row := table.rows.get(key):
            return row
    return None
