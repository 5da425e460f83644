"""Pictures of every kind of samples, as files: those that Pillow doesn't write are put together byte by byte."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

SIDE = 8


def written(image: Image.Image, name: str = "PNG", **options: Any) -> bytes:
    """By Pillow."""
    file = BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def plain(mode: str, colour: Any, name: str = "PNG", **options: Any) -> bytes:
    """One colour."""
    return written(Image.new(mode, (SIDE, SIDE), colour), name, **options)


def png(samples: Sequence[int], bits: int, colour_type: int, clear: Sequence[int] | None = None) -> bytes:
    """A PNG (W3C, 3rd edition) with these samples at every pixel; `clear` is the one that counts as transparent."""
    line = "".join(f"{sample:0{bits}b}" for sample in samples) * SIDE
    rows = (b"\0" + int(line, 2).to_bytes(len(line) // 8, "big")) * SIDE
    header = struct.pack(">IIBBBBB", SIDE, SIDE, bits, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    if clear is not None:
        chunks.insert(1, (b"tRNS", struct.pack(f">{len(clear)}H", *clear)))
    packed = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def tiff(
    values: np.ndarray | bytes, bits: int, sample_format: int = 1, white_is_zero: bool = False, order: str = "<"
) -> bytes:
    """A grey TIFF (6.0, section 4) of SIDE by SIDE samples; `sample_format` 1 is unsigned, 2 signed, 3 floating."""
    data = values if isinstance(values, bytes) else values.astype(values.dtype.newbyteorder(order)).tobytes()
    tags = {256: SIDE, 257: SIDE, 258: bits, 259: 1, 262: int(not white_is_zero), 273: 8, 277: 1, 278: SIDE}
    tags |= {279: len(data), 339: sample_format}
    directory = struct.pack(f"{order}H", len(tags))
    for tag, value in tags.items():
        directory += struct.pack(f"{order}HHI", tag, 4, 1) + struct.pack(f"{order}I", value)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(data))
    return head + data + directory + bytes(4)


def flat(value: float, dtype: str) -> np.ndarray:
    """SIDE by SIDE samples of one value."""
    return np.full((SIDE, SIDE), value, dtype)


def beside(values: Sequence[float], dtype: str) -> np.ndarray:
    """The same with columns of several values, from left to right."""
    return np.tile(np.repeat(np.array(values, dtype), SIDE // len(values)), (SIDE, 1))


def exif_block(way: int | None, order: str = "<", kind: int = 3, count: int = 1) -> bytes:
    """An EXIF block with texts beside the orientation; that is of type `kind`, a short by rights."""
    entries = [(0x010E, 2, 20, None), (0x0112, kind, count, way), (0x0131, 2, 20, None)]
    entries = [entry for entry in entries if entry[0] != 0x0112 or way is not None]
    texts = 8 + 2 + 12 * len(entries) + 4
    block = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries))
    for tag, type_, length, value in entries:
        block += struct.pack(f"{order}HHI", tag, type_, length)
        packed = struct.pack(order + {1: "B", 3: "H"}.get(type_, "I"), texts if value is None else value)
        block += packed.ljust(4, b"\0")
    return block + bytes(4) + b"what is to be seen\0\0"


def with_text(data: bytes, xmp: bytes) -> bytes:
    """A PNG with XMP."""
    return _with_chunk(data, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)


def with_raw_profile(data: bytes, digits: str) -> bytes:
    """A PNG with EXIF as older programs wrote it."""
    return _with_chunk(data, b"tEXt", f"Raw profile type exif\0\nexif\n{len(digits) // 2:8}\n{digits}\n".encode())


def _with_chunk(data: bytes, name: bytes, content: bytes) -> bytes:
    packed = struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    return data[:33] + packed + data[33:]
