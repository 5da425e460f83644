"""Read a file once: its SHA-256, size, alpha, orientation and perceptual hash."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from curator.images.decode import decode
from curator.images.formats import HEAD_BYTES, sniff
from curator.images.unusable import Reason, Unusable
from curator.ingest.phash import perceptual_hash

DEFAULT_MAX_PIXELS = 150_000_000
# No picture within max_pixels takes more: 16 bytes a pixel, and a MiB of headers.
MOST_BYTES_PER_PIXEL = 16
HEADER_BYTES = 1 << 20


@dataclass(frozen=True)
class Measured:
    """Measurements of an image, independent of its name: a row of `images`."""

    sha256: str
    size_bytes: int
    width_px: int
    height_px: int
    format: str
    has_alpha: bool
    exif_orientation: int
    phash: int
    orientation_unread: bool = False  # Its EXIF is damaged: it counts as upright.


def measure(path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> Measured:
    """Read and measure an image. Raises Unusable with the reason."""
    try:
        data = _read(path, max_pixels)
    except OSError as error:
        raise Unusable(Reason.UNREADABLE, error.strerror or str(error)) from error
    decoded = decode(data, max_pixels)
    return Measured(
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        width_px=decoded.width_px,
        height_px=decoded.height_px,
        format=decoded.format,
        has_alpha=decoded.has_alpha,
        exif_orientation=decoded.exif_orientation or 1,
        phash=perceptual_hash(decoded.grey_HW),
        orientation_unread=decoded.exif_orientation is None,
    )


def _read(path: Path, max_pixels: int) -> bytes:
    """Return the whole file, after checking its first bytes."""
    most_bytes = MOST_BYTES_PER_PIXEL * max_pixels + HEADER_BYTES
    with path.open("rb", buffering=0) as file:
        head = file.read(HEAD_BYTES)
        if not head:
            raise Unusable(Reason.ZERO_BYTE, "the file is empty")
        sniff(head)
        if os.fstat(file.fileno()).st_size > most_bytes:
            raise Unusable(Reason.TOO_LARGE, f"more than {most_bytes:,} bytes")
        file.seek(0)  # reading on and joining the two would copy every file once more
        return file.read()
