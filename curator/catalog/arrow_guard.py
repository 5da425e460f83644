"""Check Arrow IPC from other machines before decoding: a compressed table can expand to any size.

A few kilobytes of zstd can claim gigabytes, so a table that a caller sends is plain: what it takes in memory is what it
took on the wire. Source: Apache Arrow, format/Message.fbs and the FlatBuffers binary format.
"""

from __future__ import annotations

import struct
from typing import IO

import pyarrow as pa

from schemas.errors import BadDocument

MOST_ROWS = 10_000_000
DICTIONARY_BATCH, RECORD_BATCH = 2, 3
# Places of fields in their tables.
HEADER_TYPE, HEADER, DATA, LENGTH, COMPRESSION = 1, 2, 1, 0, 3


def check_plain(name: str, stream: IO[bytes]) -> None:
    """Raise BadDocument for a stream with compressed tables or too many rows; rewind it to its start.

    What isn't Arrow at all is left to the reader to refuse.
    """
    rows = 0
    try:
        reader = pa.MessageReader.open_stream(stream)
        while True:
            try:
                message = reader.read_next_message()
            except StopIteration:
                break
            rows += _rows(name, message.metadata.to_pybytes())
            if rows > MOST_ROWS:
                raise BadDocument(f"{name}: more than {MOST_ROWS:,} rows at once.")
    except (pa.ArrowException, OSError, EOFError, struct.error, IndexError) as error:
        raise BadDocument(f"{name}: not an Arrow stream: {str(error).splitlines()[0][:200]}") from error
    stream.seek(0)


def _rows(name: str, metadata: bytes) -> int:
    """Return the number of rows that a message declares; 0 for a schema."""
    message = struct.unpack_from("<I", metadata)[0]
    kind_at = _field(metadata, message, HEADER_TYPE)
    header_at = _field(metadata, message, HEADER)
    if kind_at is None or header_at is None or metadata[kind_at] not in (DICTIONARY_BATCH, RECORD_BATCH):
        return 0
    batch = _followed(metadata, header_at)
    if metadata[kind_at] == DICTIONARY_BATCH:
        data_at = _field(metadata, batch, DATA)
        if data_at is None:
            return 0
        batch = _followed(metadata, data_at)
    if _field(metadata, batch, COMPRESSION) is not None:
        raise BadDocument(f"{name}: a compressed table. Send it plain.")
    length_at = _field(metadata, batch, LENGTH)
    rows = 0 if length_at is None else struct.unpack_from("<q", metadata, length_at)[0]
    return max(rows, 0)


def _field(data: bytes, table: int, place: int) -> int | None:
    """Return the offset of a table's field, by its vtable; None if it is not set."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    if vtable < 0 or 4 + 2 * place >= struct.unpack_from("<H", data, vtable)[0]:
        return None
    offset = struct.unpack_from("<H", data, vtable + 4 + 2 * place)[0]
    return table + offset if offset else None


def _followed(data: bytes, at: int) -> int:
    return int(at + struct.unpack_from("<I", data, at)[0])
