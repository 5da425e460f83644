"""Run a named query that another process asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
import pyarrow as pa

from curator.catalog.connection import Connection
from curator.catalog.queries import Query
from schemas.errors import BadDocument


def perform(
    catalog: Connection, query: Query, parameters: Mapping[str, Any], frames: Mapping[str, pl.DataFrame]
) -> pa.Table | None:
    """Run a query received from another process; return its rows, or None for a change.

    Raises BadDocument for what a program of ours doesn't send: other parameters, or values and tables that the database
    refuses; and what the catalog itself raises.
    """
    import duckdb

    if query.parameters != set(parameters):
        raise BadDocument(f"{query.name} takes {sorted(query.parameters)}, not {sorted(parameters)}.")
    try:
        if query.changes:
            catalog._write(query.name, frames=frames, **parameters)
            return None
        return catalog._rows(query.name, frames.get("rows"), parameters)
    except (duckdb.DataError, duckdb.ProgrammingError, duckdb.NotSupportedError, duckdb.IntegrityError) as error:
        raise BadDocument(f"{query.name}: {str(error).splitlines()[0][:300]}") from error
