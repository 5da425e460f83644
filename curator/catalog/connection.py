"""Open the catalog's DuckDB file, or connect to its service, and run named queries (`_read`, `_write`).

DuckDB runs with external access off and its configuration locked, so that no statement can reach another file. One
process writes at a time; threads of one process each get a cursor. Bulk rows come and go as polars frames, never row
by row.
"""

from __future__ import annotations

import functools
import inspect
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self

import polars as pl
import pyarrow as pa

from curator.catalog.errors import CatalogFailed, CatalogLocked, NotACatalog, OnAnotherMachine
from curator.catalog.migrate import migrate
from curator.catalog.queries import Query, load_queries
from curator.catalog.query_cache import Kept, table_changed
from curator.catalog.remote import Service, find
from curator.catalog.remote_disk import RemoteDisk
from schemas.edge.address import address_of
from schemas.edge.retry import retried
from schemas.errors import AmatlError, NotFound

if TYPE_CHECKING:
    import duckdb

Arguments = ParamSpec("Arguments")
ATTEMPTS_AT_A_COLLISION = 5
CLOSE_ATTEMPTS = 1000  # 10 seconds
CONFIGURATION: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "python_enable_replacements": "false",
    "lock_configuration": "true",
}


def connect(path: Path) -> duckdb.DuckDBPyConnection:
    """Open or create the DuckDB file. Raises CatalogLocked naming the other process, NotACatalog."""
    import duckdb

    try:
        return duckdb.connect(str(path), config=CONFIGURATION)
    except duckdb.IOException as error:
        if holder := re.search(r"held in (.+?) \(PID (\d+)\)", str(error)):
            raise CatalogLocked(
                f"{path}: another process has the catalog open: {holder[2]} ({Path(holder[1]).name}). "
                "Wait until it ends, or stop it, then try again."
            ) from error
        if "lock" in str(error):
            raise CatalogLocked(f"{path}: another process has the catalog open. Wait until it ends.") from error
        if "not a valid DuckDB" in str(error):
            raise NotACatalog(f"{path}: not a curator catalog. Name another file, or: curator init FILE") from error
        raise AmatlError(f"{path}: can't be opened. {str(error).splitlines()[0]}") from error
    except duckdb.Error as error:
        raise NotACatalog(f"{path}: can't be opened as a catalog. {str(error).splitlines()[0]}") from error


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Convert DuckDB's disk and memory errors to CatalogFailed; pass on query errors."""
    import duckdb

    try:
        yield
    except (duckdb.IOException, duckdb.TransactionException, duckdb.OutOfMemoryException, duckdb.FatalException) as bad:
        reason = str(bad).splitlines()[0].rstrip(".")
        raise CatalogFailed(
            f"{path}: the catalog can't be read or written. {reason}. Look at the disk, the rights on its folder and "
            "the memory, then try again; this step left nothing half-written."
        ) from bad
    except (RuntimeError, duckdb.Error) as error:
        # What becomes of a Ctrl-C that DuckDB hears of first.
        if any(word in str(error) for word in ("Query interrupted", "INTERRUPT", "KeyboardInterrupt")):
            raise KeyboardInterrupt from error
        raise


@contextmanager
def undisturbed() -> Iterator[None]:
    """Delay Ctrl-C until the block ends. Acts in the main thread only."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    heard: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: heard.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if heard:
        before(*heard[0])


class Connection:
    """An open catalog and its named queries; a context manager and the base of the query classes.

    The file is opened where it is free; where a service holds it, or `path` is a service's URL, each query is asked of
    that one, and nothing else is different.
    """

    def __init__(self, path: Path | str) -> None:
        """Open an existing catalog and migrate it to the current schema.

        Raises NotFound where there is no file, NotACatalog, CatalogLocked, ServiceFailed.
        """
        # As a person would name it: the file, or the service's URL.
        self.name = address_of(path) or str(path)
        self._path = None if address_of(path) else Path(path)
        self._queries = load_queries()
        # One change at a time: the ids that a change gives out are then committed in their order, as versions and
        # whoever reads what is new after an id rely on.
        self._writing = threading.Lock()
        if self._path and not self._path.is_file():
            raise NotFound(f"{path}: there is no catalog here. Make one with: curator init {path}")
        self._service: Service | None = find(path)
        if self._service is None:
            self._open(self.path)

    def _open(self, path: Path) -> None:
        self._connection = connect(path)
        try:
            with disk_errors(path):
                self._kept = Kept(self._connection, migrate(self._connection, path))
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> Path:
        """The catalog's file. Raises OnAnotherMachine for a remote catalog."""
        self.check_is_here("files beside the catalog")
        assert self._path is not None
        return self._path

    @property
    def remote_disk(self) -> RemoteDisk | None:
        """The service's disk operations, or None if the catalog's paths are local."""
        return RemoteDisk(self._service) if self._service and self._path is None else None

    def check_is_here(self, needed: str) -> None:
        """Raise OnAnotherMachine, naming what is `needed`, if the catalog's paths belong to another machine."""
        if self._path is None:
            raise OnAnotherMachine(
                f"{self.name}: this needs {needed}, which are on that machine. Run it there, or as a job."
            )

    def close(self) -> None:
        """Close the file or the connection."""
        if self._service:
            self._service.close()
        else:
            _closed(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, name: str, rows: pl.DataFrame | None = None, **parameters: Any) -> pl.DataFrame:
        """Run a named SELECT and return its rows; the query reads `rows` as the table `rows`."""
        answer = pl.from_arrow(self._rows(name, rows, parameters))
        assert isinstance(answer, pl.DataFrame)
        return answer

    def _rows(self, name: str, rows: pl.DataFrame | None, parameters: Mapping[str, Any]) -> pa.Table:
        query = self._queries[name]
        _check_parameters(query, parameters)
        if self._service:
            return self._service.rows(name, rows, parameters)
        if not query.kept or rows is not None:
            return self._read_rows(query, rows, parameters)
        stamp, answer = self._kept.answer(query, parameters)
        if answer is None:
            answer = self._read_rows(query, None, parameters)
            self._kept.keep(query, parameters, stamp, answer)
        return answer

    def _read_rows(self, query: Query, rows: pl.DataFrame | None, parameters: Mapping[str, Any]) -> pa.Table:
        cursor = self._connection.cursor()
        try:
            with disk_errors(self.path):
                if rows is not None:
                    cursor.register("rows", rows)
                return cursor.sql(query.sql, params=dict(parameters)).to_arrow_table()
        finally:
            cursor.close()

    def _write(
        self,
        name: str,
        rows: pl.DataFrame | None = None,
        frames: Mapping[str, pl.DataFrame] | None = None,
        **parameters: Any,
    ) -> None:
        """Run a named change, one or more statements, as one transaction.

        `rows`, and each of `frames` by its name, can be read in it as tables. A collision with another thread is
        retried, and a Ctrl-C waits until it is done.
        """
        import duckdb

        query = self._queries[name]
        _check_parameters(query, parameters)
        tables = dict(frames or {}) | ({} if rows is None else {"rows": rows})
        if self._service:
            with undisturbed():
                self._service.change(name, tables, parameters)
            return
        with undisturbed(), self._writing, disk_errors(self.path):
            retried(
                lambda: self._transaction(query, tables, parameters),
                lambda error: isinstance(error, duckdb.TransactionException),
                (0.0,) * (ATTEMPTS_AT_A_COLLISION - 1),
            )

    def _transaction(self, query: Query, tables: Mapping[str, pl.DataFrame], parameters: Mapping[str, Any]) -> None:
        cursor, changed = self._connection.cursor(), set[str]()
        try:
            for table, frame in tables.items():
                cursor.register(table, frame)
            cursor.begin()
            try:
                for statement in cursor.extract_statements(query.sql):
                    used = {name: parameters[name] for name in statement.named_parameters}
                    cursor.execute(statement, used) if used else cursor.execute(statement)
                    if (cursor.fetchone() or (1,))[0]:  # how many rows
                        changed.add(table_changed(statement.query))
                cursor.commit()
            except BaseException:
                cursor.rollback()
                raise
        finally:  # also where it isn't known whether it was committed
            self._kept.changed(changed, parameters)
            cursor.close()


def change(method: Callable[Concatenate[Any, Arguments], None]) -> Callable[Concatenate[Any, Arguments], None]:
    """Decorate a method without a body: it runs the query of its name with its arguments; `rows` is the table."""
    names = list(inspect.signature(method).parameters)[1:]

    @functools.wraps(method)
    def run(self: Any, /, *given: Arguments.args, **named: Arguments.kwargs) -> None:
        self._write(method.__name__, **dict(zip(names, given, strict=False)), **named)

    return run


def _closed(connection: duckdb.DuckDBPyConnection) -> None:
    """Close the connection when no other thread uses it; until then DuckDB refuses to close."""
    import duckdb

    retried(connection.close, lambda error: isinstance(error, duckdb.Error), repeat(0.01, CLOSE_ATTEMPTS))


def _check_parameters(query: Query, parameters: Mapping[str, Any]) -> None:
    if query.parameters != set(parameters):
        raise TypeError(f"query {query.name} takes {sorted(query.parameters)}, not {sorted(parameters)}")
