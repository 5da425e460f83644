"""Read metadata tables: CSV, TSV, JSON, JSON Lines, Parquet. A row that can't be used is a reject, never a guess.

CSV values stay text ("007" isn't 7). JSON is an array of objects, or an object of objects whose keys join. Parquet
columns with binary data (embedded images) are left out, with a note.
"""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from curator.images.unusable import Reason, Reject
from schemas.errors import AmatlError

LARGEST_FIELD_CHARACTERS = 1 << 27
SOURCE_URL_COLUMNS = ("source_url", "url", "image_url", "page_url", "original_url", "source", "link")
LICENSE_COLUMNS = ("license", "licence", "license_name", "licence_name", "rights")


class BadTable(AmatlError):
    """The metadata table can't be read."""


@dataclass(frozen=True)
class Row:
    """A row: its place (`table.csv:12`), metadata as a JSON object, and the two columns the catalog knows."""

    place: str
    metadata: str
    source_url: str | None
    license: str | None


@dataclass
class Table:
    """Rows by join value, rejects, and notes for the user."""

    path: str
    rows: dict[str, Row] = field(default_factory=dict)
    columns: dict[str, None] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class _BadRow(Exception):
    """One row can't be read; the next may."""


def read_table(path: Path, join_on: str) -> Table:
    """Read a table whose rows join on the column `join_on`.

    Raises BadTable if the file can't be read, or no row has the column.
    """
    readers = {
        ".csv": _csv_rows,
        ".tsv": _csv_rows,
        ".jsonl": _json_lines,
        ".ndjson": _json_lines,
        ".json": _json_rows,
        ".parquet": _parquet_rows,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise BadTable(f"{path}: not a metadata table; one of {', '.join(readers)}.")
    table = Table(str(path))
    try:
        for line, values in reader(path, join_on, table):
            _take(table, line, values, join_on)
    except OSError as error:
        raise BadTable(f"{path}: can't be read ({error.strerror or error}).") from error
    if join_on not in table.columns and table.columns:
        raise BadTable(
            f"{path}: no column {join_on!r}. Columns: {', '.join(table.columns)}. Choose one with --join-on."
        )
    return table


def clean_key(value: object) -> str:
    """Return a join value as text: a relative path with forward slashes, in one Unicode form."""
    text = unicodedata.normalize("NFC", str(value).strip()).replace("\\", "/")
    return text.removeprefix("./")


def object_text(values: dict[str, Any]) -> str:
    """Return metadata as a JSON object. Raises ValueError for values that JSON can't hold."""
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, default=str)
    text.encode()  # a lone surrogate raises UnicodeEncodeError, a ValueError
    return text


def source_url_of(values: dict[str, Any]) -> str | None:
    """Return the image's source from the usual columns; only `source_url` may be something else than a web address."""
    for name, value in _first(values, SOURCE_URL_COLUMNS):
        if name == "source_url" or value.lower().startswith(("http://", "https://")):
            return value
    return None


def _first(values: dict[str, Any], names: Iterable[str]) -> Iterator[tuple[str, str]]:
    plain = {name.strip().lower().replace("-", "_").replace(" ", "_"): value for name, value in values.items()}
    for name in names:
        value = plain.get(name)
        if isinstance(value, str) and value.strip():
            yield name, value.strip()


def _take(table: Table, line: int, values: dict[str, Any] | _BadRow, join_on: str) -> None:
    """Add a row to the table or to the rejects."""
    place = f"{table.path}:{line}"
    try:
        if isinstance(values, _BadRow):
            raise values
        table.columns.update(dict.fromkeys(values))
        key = clean_key(values[join_on]) if values.get(join_on) is not None else ""
        if not key:
            raise _BadRow(f"nothing in column {join_on!r}")
        metadata = {name: value for name, value in values.items() if name != "file_name"}
        license_ = next((value for _, value in _first(values, LICENSE_COLUMNS)), None)
        row = Row(place, object_text(metadata), source_url_of(values), license_)
    except UnicodeEncodeError:
        table.rejects.append(Reject(place, Reason.BAD_ROW, "not UTF-8; save the table as UTF-8"))
    except (ValueError, RecursionError) as error:
        table.rejects.append(Reject(place, Reason.BAD_ROW, str(error)[:200]))
    except _BadRow as error:
        table.rejects.append(Reject(place, Reason.BAD_ROW, str(error)))
    else:
        if first := table.rows.get(key):
            detail = f"{key!r} again; the row at {first.place.rpartition(':')[2]} is used"
            table.rejects.append(Reject(place, Reason.DUPLICATE_ROW, detail))
        else:
            table.rows[key] = row


Rows = Iterator[tuple[int, dict[str, Any] | _BadRow]]


def _csv_rows(path: Path, join_on: str, table: Table) -> Rows:
    """Yield rows of CSV or TSV with the line they end on. A one-field header with ; or tabs is split at those."""
    csv.field_size_limit(LARGEST_FIELD_CHARACTERS)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        first = file.readline()
        file.seek(0)
        delimiter = max("\t,;" if path.suffix.lower() == ".tsv" else ",;\t", key=first.count)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        header = _header(path, reader)
        table.columns.update(dict.fromkeys(header))
        while True:
            start = reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield start, _BadRow(f"not CSV: {error}")
                continue
            if fields:
                yield start, _csv_values(header, fields)


def _header(path: Path, reader: Iterator[list[str]]) -> list[str]:
    try:
        header = [name.strip() for name in next(reader)]
        "".join(header).encode()
    except StopIteration:
        raise BadTable(f"{path}: the table is empty; its first line names the columns.") from None
    except (csv.Error, UnicodeEncodeError) as error:
        raise BadTable(f"{path}: line 1 can't be read as the columns' names ({error}).") from error
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise BadTable(f"{path}: column {min(twice)!r} is there twice. Rename one.")
    return header


def _csv_values(header: list[str], fields: list[str]) -> dict[str, Any] | _BadRow:
    if len(fields) != len(header):
        return _BadRow(f"{len(fields)} fields, the header has {len(header)}")
    return dict(zip(header, fields, strict=True))


def _json_lines(path: Path, join_on: str, table: Table) -> Rows:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if line.strip():
                yield number, _json_object(line)


def _json_object(line: bytes) -> dict[str, Any] | _BadRow:
    try:
        value = json.loads(line.decode(), parse_constant=_no_constant)
    except UnicodeDecodeError:
        return _BadRow("not UTF-8")
    except (ValueError, RecursionError) as error:
        return _BadRow(f"not JSON: {error}")
    return value if isinstance(value, dict) else _BadRow("not a JSON object")


def _json_rows(path: Path, join_on: str, table: Table) -> Rows:
    """Yield rows of a JSON document with their number."""
    try:
        document = json.loads(path.read_bytes().decode("utf-8-sig"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadTable(f"{path}: not JSON: {error}") from error
    if isinstance(document, dict):
        document = [{join_on: key} | row if isinstance(row, dict) else row for key, row in document.items()]
    if not isinstance(document, list):
        raise BadTable(f"{path}: neither an array of objects nor an object of objects.")
    for number, row in enumerate(document, start=1):
        yield number, row if isinstance(row, dict) else _BadRow("not a JSON object")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} isn't JSON")


def _parquet_rows(path: Path, join_on: str, table: Table) -> Rows:
    """Yield rows of a Parquet file with their number."""
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise BadTable(f"{path}: not Parquet: {str(error).splitlines()[0]}") from error
    binary = [name for name, kind in frame.schema.items() if "Binary" in str(kind)]
    if binary:
        table.notes.append(f"{path.name}: binary columns are left out: {', '.join(binary)}")
    frame = frame.drop(binary)
    table.columns.update(dict.fromkeys(frame.columns))
    yield from enumerate(frame.iter_rows(named=True), start=1)
