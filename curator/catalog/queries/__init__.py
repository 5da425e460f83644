"""Named queries: a .sql file per noun with blocks of `-- name: ...`, a line that says what it does, then SQL.

    -- name: dataset_names
    -- Every dataset, by name.
    SELECT name FROM datasets ORDER BY name;

A `Catalog` method of the same name runs each; a test holds the two sets equal. Parameters are written `$name`. The
statements of a block that writes are one transaction. Results of a query marked `(kept)` are cached, see
`curator.catalog.query_cache`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

FOLDER = Path(__file__).parent
BLOCK = re.compile(
    r"^-- name: *(?P<name>[a-z0-9_]+) *(?P<kept>\(kept\))? *\n-- (?P<summary>[^\n]+)\n(?P<sql>.*?)(?=^-- name:|\Z)",
    re.M | re.S,
)
# A quoted string, a comment, or a parameter: only the last is one.
TOKEN = re.compile(r"'(?:[^']|'')*'|--[^\n]*|\$(?P<parameter>[a-z_][a-z0-9_]*)")
CHANGE = re.compile(r"\s*(INSERT|UPDATE|DELETE|CREATE|DROP|ALTER)\b")


@dataclass(frozen=True)
class Query:
    """A named block. `noun` is its file's name; `parameters` are its `$names`."""

    name: str
    noun: str
    summary: str
    sql: str
    parameters: frozenset[str]
    kept: bool = False

    @cached_property
    def changes(self) -> bool:
        """Return whether it writes rows."""
        return bool(CHANGE.match(_bare(self.sql)))

    @cached_property
    def scope(self) -> Literal["read", "write"]:
        """Return the scope that a remote caller needs; reserving an id counts as a write."""
        return "write" if self.changes or "nextval(" in _bare(self.sql) else "read"


@cache
def load_queries() -> dict[str, Query]:
    """Return all queries by name. Raises ValueError for a repeated name or text outside a block."""
    queries: dict[str, Query] = {}
    for file in sorted(FOLDER.glob("*.sql")):
        for query in parse(file.read_text(encoding="utf-8"), file.stem):
            if query.name in queries:
                raise ValueError(f"{file.name}: {query.name} is in {queries[query.name].noun}.sql already")
            queries[query.name] = query
    return queries


def parse(text: str, noun: str) -> list[Query]:
    """Parse the blocks of a .sql file. Raises ValueError for a line outside blocks, or a block without SQL."""
    outside = BLOCK.sub("", text).strip()
    stray = [line for line in outside.splitlines() if not line.startswith("--! ")]
    if stray:
        raise ValueError(f"{noun}.sql: not in a named block with a summary line: {stray[0]!r}")
    return [_query(match, noun) for match in BLOCK.finditer(text)]


def _bare(sql: str) -> str:
    """Return SQL without strings and comments."""
    return TOKEN.sub(lambda token: token[0] if token["parameter"] else " ", sql)


def _query(match: re.Match[str], noun: str) -> Query:
    sql = match["sql"].strip()
    if not sql:
        raise ValueError(f"{noun}.sql: {match['name']} has no SQL")
    parameters = frozenset(token["parameter"] for token in TOKEN.finditer(sql) if token["parameter"])
    return Query(match["name"], noun, match["summary"].strip(), sql, parameters, bool(match["kept"]))
