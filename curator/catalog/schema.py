"""The schema as one text, from DuckDB's own listing: `python -m curator.catalog.schema` writes schema.sql.

A test holds schema.sql equal to the sum of all migrations.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from curator.catalog.migrate import migrate

if TYPE_CHECKING:
    import duckdb

FILE = Path(__file__).parent / "schema.sql"
HEADER = """\
-- Written by `python -m curator.catalog.schema`: what all migrations together give. The reasons are in the migrations.
"""
# In an order in which each statement finds what it needs.
STATEMENTS = """
SELECT sql FROM (
    SELECT 1 AS kind, sequence_name AS name, 0 AS oid, sql FROM duckdb_sequences()
    UNION ALL SELECT 2, table_name, 0, sql FROM duckdb_tables() WHERE NOT internal
    UNION ALL SELECT 3, index_name, 0, sql FROM duckdb_indexes()
    UNION ALL SELECT 4, function_name, 0,
        'CREATE MACRO ' || function_name || '(' || array_to_string(parameters, ', ') || ') AS ' || macro_definition
        FROM duckdb_functions() WHERE NOT internal
    UNION ALL SELECT 5, '', view_oid, sql FROM duckdb_views() WHERE NOT internal
) ORDER BY kind, name, oid
"""


def describe(connection: duckdb.DuckDBPyConnection) -> str:
    """Return SQL that makes every sequence, table, index, macro and view of an open database."""
    return HEADER + "\n" + "\n\n".join(_laid_out(sql) for (sql,) in connection.execute(STATEMENTS).fetchall()) + "\n"


def current() -> str:
    """Return the schema after all migrations."""
    import duckdb

    with duckdb.connect() as connection:
        migrate(connection, Path(":memory:"), new=True)
        return describe(connection)


def _laid_out(sql: str) -> str:
    """Put each column on a line, so that differences are readable."""
    sql = sql.strip().rstrip(";")
    if sql.startswith("CREATE TABLE"):
        head, _, columns = sql.partition("(")
        sql = f"{head} (\n    {_split(columns[:-1])}\n)"
    return sql + ";"


def _split(columns: str) -> str:
    """Split a column list at commas outside parentheses."""
    depth, out = 0, []
    for character in columns:
        depth += (character == "(") - (character == ")")
        out.append(",\n    " if character == "," and depth == 0 else character)
    return "".join(out).replace("\n     ", "\n    ")


if __name__ == "__main__":
    FILE.write_text(current(), encoding="utf-8")
