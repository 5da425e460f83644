"""The wire format of named queries between `Catalog` and a service.

    POST /catalog/<query>   multipart/form-data: `parameters` (JSON object), one Arrow IPC stream for each table
    200                     rows, as one Arrow IPC stream    204  a change, committed    4xx, 5xx  a problem (RFC 9457)

Each request is one transaction. Rows keep DuckDB's types, so a frame is the same on both machines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from typing import IO, Any

import polars as pl
import pyarrow as pa

from curator.catalog.arrow_guard import check_plain
from curator.catalog.queries import load_queries
from schemas.errors import BadDocument

ARROW = "application/vnd.apache.arrow.stream"
PARAMETERS = "parameters"
ROWS_A_CHUNK = 64 * 1024
# Who did it: by a token from another machine it is the token's person, whatever the client says.
PEOPLE = frozenset({"person", "made_by", "restored_by"})


@cache
def dialect() -> str:
    """Return a digest of all queries; two programs with the same digest are compatible."""
    text = "\n".join(f"{query.name}\n{query.sql}" for query in load_queries().values())
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def encode_frame(frame: pl.DataFrame) -> bytes:
    """Encode a table as an Arrow IPC stream."""
    buffer = BytesIO()
    frame.write_ipc_stream(buffer)
    return buffer.getvalue()


def decode_frame(name: str, stream: IO[bytes]) -> pl.DataFrame:
    """Decode an Arrow IPC stream from another machine, with all offsets checked. Raises BadDocument."""

    check_plain(name, stream)
    try:
        with pa.ipc.open_stream(stream) as reader:
            table = reader.read_all()
        table.validate(full=True)
        frame = pl.from_arrow(table)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadDocument(f"{name}: not an Arrow stream: {str(error).splitlines()[0][:200]}") from error
    assert isinstance(frame, pl.DataFrame)
    return frame


def encode_rows(table: pa.Table, compressed: bool) -> Iterator[bytes]:
    """Yield rows as an Arrow IPC stream in chunks, `compressed` (zstd) for a network."""
    sink = _Chunks()
    options = pa.ipc.IpcWriteOptions(compression="zstd" if compressed else None)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        for batch in table.to_batches(ROWS_A_CHUNK):
            writer.write_batch(batch)
            yield sink.taken()
    yield sink.taken()


def decode_rows(content: bytes) -> pa.Table:
    """Decode the rows of `encode_rows`."""
    with pa.ipc.open_stream(content) as reader:
        return reader.read_all()


def decode_parameters(content: bytes) -> dict[str, Any]:
    """Decode the parameters of a call. Raises BadDocument."""
    try:
        parameters = json.loads(content)
    except ValueError as error:
        raise BadDocument(f"{PARAMETERS}: not JSON.") from error
    if not isinstance(parameters, dict):
        raise BadDocument(f"{PARAMETERS}: not a JSON object.")
    return parameters


class _Chunks:
    """A write-only file that hands out its content in chunks."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)
