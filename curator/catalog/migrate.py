"""Migrate a catalog: numbered SQL files, one transaction each, recorded in the table `migrations`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from curator.catalog.errors import NotACatalog
from schemas.errors import AmatlError

if TYPE_CHECKING:
    import duckdb

FOLDER = Path(__file__).parent / "migrations"
# The runner's own table: how it knows a catalog from another DuckDB file, and where it stopped.
OWN_TABLE = (
    "CREATE TABLE migrations (number INTEGER PRIMARY KEY, name VARCHAR NOT NULL, applied_at TIMESTAMPTZ NOT NULL)"
)


class NewerCatalog(AmatlError):
    """The catalog was made by a newer curator. Update this one."""


def migrations() -> list[tuple[int, Path]]:
    """Return the migration files by number. Raises ValueError if the numbers have a gap."""
    files = sorted(FOLDER.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    numbered = [(int(file.name[:4]), file) for file in files]
    if [number for number, _ in numbered] != list(range(1, len(numbered) + 1)):
        raise ValueError(f"{FOLDER}: migrations must be numbered 0001, 0002, ... without a gap")
    return numbered


def migrate(connection: duckdb.DuckDBPyConnection, path: Path, new: bool = False) -> int:
    """Apply missing migrations; return the schema number. Raises NotACatalog, NewerCatalog."""
    if new:
        connection.execute(OWN_TABLE)
    known = migrations()
    applied = schema_number(connection, path)
    if applied > len(known):
        raise NewerCatalog(
            f"{path}: made by a newer curator (schema {applied}, this program knows {len(known)}). Update curator."
        )
    for number, file in known[applied:]:
        _apply(connection, number, file)
    return len(known)


def schema_number(connection: duckdb.DuckDBPyConnection, path: Path) -> int:
    """Return the file's last migration number. Raises NotACatalog for another file."""
    import duckdb

    try:  # The table itself: to list all tables takes DuckDB ten times as long.
        row = connection.execute("SELECT coalesce(max(number), 0) FROM main.migrations").fetchone()
    except duckdb.CatalogException as error:
        raise NotACatalog(
            f"{path}: a DuckDB file, but not a curator catalog. Name another file, or: curator init FILE"
        ) from error
    return int(row[0]) if row else 0


def _apply(connection: duckdb.DuckDBPyConnection, number: int, file: Path) -> None:
    connection.begin()
    try:
        connection.execute(file.read_text(encoding="utf-8"))
        connection.execute("INSERT INTO migrations VALUES (?, ?, now())", [number, file.stem])
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
