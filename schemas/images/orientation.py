"""An image's orientation by its EXIF block: one rule for both programs.

Pillow's own reading isn't used: it takes an orientation from XMP, which no browser does, and handles damaged blocks
by warnings or a dozen kinds of errors.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from schemas.edge.words import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

ORIENTATION = 0x0112  # The tag, in EXIF and TIFF.
EXIF_HEADER = b"Exif\0\0"
XMP = ("xmp", "XML:com.adobe.xmp")  # Where Pillow keeps it, by format.
NAMED = 10  # Files that a sentence lists.
BARE = {0x01, *range(0xD0, 0xD8)}  # A JPEG's markers that nothing belongs to: TEM and RST0 to RST7.
PNG_TEXT = "Raw profile type exif"  # Older programs' EXIF in a PNG: a name, a length, hexadecimal digits.


def orientation(image: Image) -> int | None:
    """Return how to turn an opened image, 1 to 8 (Exif 2.32, tag 0x0112); 1 if nothing is said.

    None if the EXIF can't be read. Loads a PNG, whose EXIF may follow its pixels. 1 for a TIFF, which Pillow turns
    while loading.
    """
    if image.format == "PNG":
        image.load()
    for name in XMP:  # Else Pillow turns a TIFF by it.
        image.info.pop(name, None)
    if image.format == "TIFF":
        return _valid(image.tag_v2.get(ORIENTATION, 1))  # type: ignore[attr-defined]
    exif = image.info.get("exif")
    if exif is None and PNG_TEXT in image.info:
        try:
            exif = bytes.fromhex("".join(image.info[PNG_TEXT].split("\n")[3:]))
        except (ValueError, AttributeError):
            return None
    return orientation_in(exif) if exif else 1


def upright(image: Image) -> Image:
    """Return an opened image turned by its orientation, if that can be read."""
    from PIL.Image import Transpose

    way = orientation(image)
    turn = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }.get(way or 1)
    return image if turn is None or image.format == "TIFF" else image.transpose(turn)


def turned(pixels: NDArray[np.uint8], orientation: int | None) -> NDArray[np.uint8]:
    """Undo the EXIF orientation (Exif 2.32, tag 0x0112) of grey (H, W) or coloured (H, W, C) pixels, if known."""
    import numpy as np

    if orientation in {5, 6, 7, 8}:
        pixels = pixels.swapaxes(0, 1)
    rows_turned = orientation in {3, 4, 7, 8}
    columns_turned = orientation in {2, 3, 6, 7}
    return np.ascontiguousarray(pixels[:: -1 if rows_turned else 1, :: -1 if columns_turned else 1])


def orientation_in(exif: bytes) -> int | None:
    """Return the orientation in an EXIF block: a TIFF header and directories (TIFF 6.0, 2). None if unreadable."""
    while exif.startswith(EXIF_HEADER):
        exif = exif[len(EXIF_HEADER) :]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return None
    try:
        (directory,) = struct.unpack_from(f"{order}I", exif, 4)
        (entries,) = struct.unpack_from(f"{order}H", exif, directory)
        for start in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind, count = struct.unpack_from(f"{order}HHI", exif, start)
            if tag == ORIENTATION:
                letter = {1: "B", 3: "H", 4: "I"}.get(kind)  # It should be a short.
                return _valid(struct.unpack_from(order + letter, exif, start + 8)[0]) if letter and count == 1 else None
    except struct.error:
        return None
    return 1


def jpeg_orientation(data: bytes) -> int | None:
    """Return the orientation in a JPEG's bytes."""
    exif = b"".join(_exif_segments(data))
    return orientation_in(exif) if exif else 1


def _exif_segments(data: bytes) -> Iterator[bytes]:
    """Yield a JPEG's EXIF segments, up to the pixels (ISO 10918-1, B.1.1). Large blocks may span several."""
    position, first = 2, True
    while position + 4 <= len(data) and data[position] == 0xFF and (marker := data[position + 1]) != 0xDA:
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker in BARE:
            position += 2
            continue
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xE1 and data[position + 4 :].startswith(EXIF_HEADER):
            yield data[position + 4 + (0 if first else len(EXIF_HEADER)) : end]
            first = False
        position = end


def in_words(unread: Sequence[str]) -> str:
    """Return a note about files whose orientation can't be read."""
    listed = ", ".join(unread[:NAMED]) + (f" and {len(unread) - NAMED:,} more" if len(unread) > NAMED else "")
    pictures = plural(len(unread), "image has", "images have")
    return f"{pictures} EXIF that can't be read, so which way up is unknown; taken as stored: {listed}"


def _valid(value: object) -> int | None:
    """Return a valid orientation; cameras write 0 if they don't know."""
    return (value or 1) if isinstance(value, int) and 0 <= value <= 8 else None
