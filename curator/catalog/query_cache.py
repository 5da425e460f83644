"""Answers that are kept until what they were read from changes: for the small questions that every page asks again.

Whoever has the file open makes every change to it, and so knows of each: a table's count goes up once a change that
added rows to it is committed, before whoever asked for the change hears of it. An answer holds while the counts of the
tables that its query names are what they were before it was read. Changes to one dataset, or one caption set, leave the
answers about another as they are: a change or a question with the parameter `dataset`, and `set_name`, is of rows with
those alone. Which queries are kept stands in their .sql files.
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
    """The answers of one open file. Safe on many threads."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, schema: int | None = None) -> None:
        """`connection`: where the tables and views are. `schema`: its number, where they are those of a catalog."""
        rows = _tables(connection, schema)
        self._views = {name: frozenset(SOURCE.findall(sql)) for name, sql, _ in rows if sql}
        self._tables = {name for name, sql, _ in rows} - self._views.keys()
        self._columns = {name: frozenset(columns) for name, _, columns in rows}
        self._read_from: dict[str, tuple[str, ...]] = {}
        self._changes: Counter[tuple[str | None, ...]] = Counter()
        self._answers: OrderedDict[Key, tuple[Stamp, pa.Table]] = OrderedDict()
        self._lock = threading.Lock()

    def answer(self, query: Query, parameters: Mapping[str, Any]) -> tuple[Stamp, pa.Table | None]:
        """What is kept, None where nothing is or it holds no more; and the stamp for `keep`, taken before reading."""
        with self._lock:
            stamp = tuple(self._count(table, parameters) for table in self._tables_of(query))
            key = _key(query, parameters)
            known = self._answers.get(key)
            if known is None or known[0] != stamp:
                return stamp, None
            self._answers.move_to_end(key)
            return stamp, known[1]

    def keep(self, query: Query, parameters: Mapping[str, Any], stamp: Stamp, answer: pa.Table) -> None:
        """Keeps an answer, unless it is large."""
        if answer.nbytes > LARGEST_BYTES:
            return
        with self._lock:
            self._answers[_key(query, parameters)] = stamp, answer
            while len(self._answers) > KEPT:
                self._answers.popitem(last=False)

    def changed(self, tables: Iterable[str], parameters: Mapping[str, Any]) -> None:
        """A change with these parameters added rows to these tables."""
        with self._lock:
            for table in tables:
                named = self._named(table, parameters)
                self._changes.update([(table, *named[:depth]) for depth in range(len(named) + 1)])
                self._changes[table, *named, None] += 1  # of whatever dataset, or set

    def _count(self, table: str, parameters: Mapping[str, Any]) -> int:
        """How many changes the rows asked for may have seen: those of this scope, and those of a wider one."""
        named = self._named(table, parameters)
        wider = sum(self._changes[table, *named[:depth], None] for depth in range(len(named)))
        return self._changes[table, *named] + wider

    def _named(self, table: str, parameters: Mapping[str, Any]) -> list[str]:
        """Dataset and set that the parameters name, as far as the table's rows have them."""
        named: list[str] = []
        for column in SCOPE:
            value = parameters.get(column)
            if not isinstance(value, str) or column not in self._columns[table]:
                break  # also where another process sent what is no name
            named.append(value)
        return named

    def _tables_of(self, query: Query) -> tuple[str, ...]:
        """The tables that a query reads, itself or by a view."""
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
    """The table that a statement of a change adds rows to. Raises ValueError where that can't be told."""
    if match := TARGET.match(statement):
        return match[1]
    raise ValueError(f"adds rows to no table: {statement[:60]}")


def _key(query: Query, parameters: Mapping[str, Any]) -> Key:
    return query.name, repr(sorted(parameters.items()))
