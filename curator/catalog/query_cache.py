"""A cache of query results, for the small queries that every page repeats.

The process that has the file open makes every change. Each table has a counter that goes up when a change is committed,
before its caller is answered. A result is valid while the counters of its query's tables are what they were before it
was read. Counters are kept by dataset and caption set, so changes to one don't discard results about another. The .sql
files mark the cached queries `(kept)`.
"""

from __future__ import annotations

import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from curator.catalog.queries import Query

if TYPE_CHECKING:
    import duckdb

KEPT = 512
LARGEST_BYTES = 1_000_000
SOURCE = re.compile(r"\b(?:FROM|JOIN)\b[\s(]*(\w+)", re.I)
TARGET = re.compile(r"\s*(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM)\s+(\w+)", re.I)
TABLES = """
SELECT table_name AS name, '' AS sql, list(column_name) AS columns
FROM duckdb_columns() WHERE NOT internal GROUP BY table_name
UNION ALL BY NAME SELECT view_name AS name, sql, [] AS columns FROM duckdb_views() WHERE NOT internal
"""
Stamp = tuple[int, ...]
Key = tuple[str, str]
SCOPE = ("dataset", "set_name")
# DuckDB takes 20 ms to list them: as long as it takes to open a file.
_TABLES_BY_SCHEMA: dict[int, list[tuple[str, str, list[str]]]] = {}


class Kept:
    """Cached results of one open file. Safe on many threads."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, schema: int | None = None) -> None:
        """`connection` has the tables and views; `schema` is the number of the catalog's schema."""
        rows = _tables(connection, schema)
        self._views = {name: frozenset(SOURCE.findall(sql)) for name, sql, _ in rows if sql}
        self._tables = {name for name, sql, _ in rows} - self._views.keys()
        self._columns = {name: frozenset(columns) for name, _, columns in rows}
        self._read_from: dict[str, tuple[str, ...]] = {}
        self._changes: Counter[tuple[str | None, ...]] = Counter()
        self._answers: OrderedDict[Key, tuple[Stamp, pa.Table]] = OrderedDict()
        self._lock = threading.Lock()

    def answer(self, query: Query, parameters: Mapping[str, Any]) -> tuple[Stamp, pa.Table | None]:
        """Return the cached result, or None, and the stamp for `keep`, which must be taken before reading."""
        with self._lock:
            stamp = tuple(self._count(table, parameters) for table in self._tables_of(query))
            key = _key(query, parameters)
            known = self._answers.get(key)
            if known is None or known[0] != stamp:
                return stamp, None
            self._answers.move_to_end(key)
            return stamp, known[1]

    def keep(self, query: Query, parameters: Mapping[str, Any], stamp: Stamp, answer: pa.Table) -> None:
        """Cache a result, unless it is large."""
        if answer.nbytes > LARGEST_BYTES:
            return
        with self._lock:
            self._answers[_key(query, parameters)] = stamp, answer
            while len(self._answers) > KEPT:
                self._answers.popitem(last=False)

    def changed(self, tables: Iterable[str], parameters: Mapping[str, Any]) -> None:
        """Record that a change with these parameters added rows to these tables."""
        with self._lock:
            for table in tables:
                named = self._named(table, parameters)
                self._changes.update([(table, *named[:depth]) for depth in range(len(named) + 1)])
                self._changes[table, *named, None] += 1  # of whatever dataset, or set

    def _count(self, table: str, parameters: Mapping[str, Any]) -> int:
        """Return the number of changes that may concern these rows: of this scope and wider ones."""
        named = self._named(table, parameters)
        wider = sum(self._changes[table, *named[:depth], None] for depth in range(len(named)))
        return self._changes[table, *named] + wider

    def _named(self, table: str, parameters: Mapping[str, Any]) -> list[str]:
        """Return the dataset and set that the parameters name, if the table has these columns."""
        named: list[str] = []
        for column in SCOPE:
            value = parameters.get(column)
            if not isinstance(value, str) or column not in self._columns[table]:
                break  # also where another process sent what is no name
            named.append(value)
        return named

    def _tables_of(self, query: Query) -> tuple[str, ...]:
        """Return the tables that a query reads, directly or through views."""
        if query.name not in self._read_from:
            names, new = set[str](), set(SOURCE.findall(query.sql))
            while new:
                names |= new
                new = set[str]().union(*(self._views.get(name, ()) for name in new)) - names
            self._read_from[query.name] = tuple(sorted(names & self._tables))
        return self._read_from[query.name]


def _tables(connection: duckdb.DuckDBPyConnection, schema: int | None) -> list[tuple[str, str, list[str]]]:
    """Return name, SQL (of a view) and columns of each table and view; listed once a schema: all catalogs agree."""
    if schema is None or schema not in _TABLES_BY_SCHEMA:
        rows = connection.cursor().execute(TABLES).fetchall()
        if schema is None:
            return rows
        _TABLES_BY_SCHEMA[schema] = rows
    return _TABLES_BY_SCHEMA[schema]


def table_changed(statement: str) -> str:
    """Return the table that a statement adds rows to. Raises ValueError if that is unclear."""
    if match := TARGET.match(statement):
        return match[1]
    raise ValueError(f"adds rows to no table: {statement[:60]}")


def _key(query: Query, parameters: Mapping[str, Any]) -> Key:
    return query.name, repr(sorted(parameters.items()))
