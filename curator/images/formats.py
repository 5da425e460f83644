"""Recognise a file's format by its first bytes, never by its name, and check that its container is complete.

Decoders forgive: Pillow reads a PNG with wrong checksums and a GIF that stops after its first frame. These checks
don't. Sources: PNG (W3C, 3rd edition) section 5, GIF89a section 17 ff., RIFF and WebP container specification,
BITMAPFILEHEADER.
"""

from __future__ import annotations

import struct
import zlib

from curator.images.unusable import Reason, Unusable

HEAD_BYTES = 64  # enough to tell every format apart
READABLE = "PNG, JPEG, WebP, GIF, BMP or TIFF"


def sniff(head: bytes) -> str:
    """Return the format of a file that starts with `head`: png, jpeg, webp, gif, bmp, tiff. Raises Unusable."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith(b"BM") and head[6:10] == bytes(4) and head[14:18] in _BMP_HEADER_SIZES:
        return "bmp"
    if head.startswith((b"II*\0", b"MM\0*")):
        return "tiff"
    raise _not_readable(head)


_BMP_HEADER_SIZES = {struct.pack("<I", size) for size in (12, 16, 40, 52, 56, 64, 108, 124)}
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"GIF87a")
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF"}
_OTHER_IMAGES = {
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"8BPS": "Photoshop",
    b"II+\0": "BigTIFF",
    b"MM\0+": "BigTIFF",
    b"\x00\x00\x01\x00": "icon",
    b"%PDF": "PDF",
}


def _not_readable(head: bytes) -> Unusable:
    if any(magic.startswith(head) for magic in _MAGIC):
        return Unusable(Reason.TRUNCATED, f"only {len(head)} bytes of an image")
    other = _BRANDS.get(head[8:12]) if head[4:8] == b"ftyp" else None
    other = other or next((name for magic, name in _OTHER_IMAGES.items() if head.startswith(magic)), None)
    if b"<svg" in head.lower():
        other = "SVG"
    if other:
        return Unusable(Reason.UNSUPPORTED_FORMAT, f"{other} isn't read; convert it to {READABLE}")
    return Unusable(Reason.NOT_AN_IMAGE, f"its bytes aren't {READABLE}")


def check_complete(data: bytes, image_format: str) -> None:
    """Raise Unusable if the container of a PNG, GIF, WebP, BMP or TIFF lacks bytes or has wrong checksums."""
    checks = {"png": _check_png, "gif": _check_gif, "webp": _check_riff, "bmp": _check_bmp, "tiff": _check_tiff}
    if check := checks.get(image_format):
        check(data)


def _check_png(data: bytes) -> None:
    """Check that all chunks up to IEND are complete and their CRCs right."""
    position = 8
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        chunk = memoryview(data)[position + 4 : end - 4]
        if zlib.crc32(chunk) != struct.unpack_from(">I", data, end - 4)[0]:
            raise Unusable(Reason.CORRUPT, f"chunk {name!r} at byte {position} doesn't match its checksum")
        if name == b"IEND":
            return
        position = end
    raise Unusable(Reason.TRUNCATED, f"ends after {len(data)} bytes, before the end of the image")


def _check_gif(data: bytes) -> None:
    """Check the blocks up to the trailer."""
    try:
        position = 13 + _colour_table_bytes(data[10])
        while (kind := data[position]) != 0x3B:
            if kind == 0x21:  # an extension: label, then sub-blocks
                position += 2
            elif kind == 0x2C:  # a picture: descriptor, colour table, code size, then sub-blocks
                position += 11 + _colour_table_bytes(data[position + 9])
            else:
                raise Unusable(Reason.CORRUPT, f"unknown block {kind:#04x} at byte {position}")
            while size := data[position]:
                position += 1 + size
            position += 1
    except IndexError:
        raise Unusable(Reason.TRUNCATED, f"ends after {len(data)} bytes, before its trailer") from None


def _colour_table_bytes(flags: int) -> int:
    return int(3 << ((flags & 7) + 1)) if flags & 0x80 else 0


def _check_riff(data: bytes) -> None:
    promised = int.from_bytes(data[4:8], "little") + 8
    if len(data) < promised:
        raise Unusable(Reason.TRUNCATED, f"has {len(data)} of {promised} bytes")


def _check_bmp(data: bytes) -> None:
    """Check the size; ignore a size in the header that is no larger than the headers, since some writers leave 0."""
    promised = int.from_bytes(data[2:6], "little")
    if promised > len(data) and promised > 54:
        raise Unusable(Reason.TRUNCATED, f"has {len(data)} of {promised} bytes")


def _check_tiff(data: bytes) -> None:
    """Check that the first directory, its values and its strips or tiles lie within the file (TIFF 6.0, 2)."""
    order = "<" if data[:2] == b"II" else ">"
    places: dict[int, tuple[int, ...]] = {}
    try:
        (directory,) = struct.unpack_from(order + "I", data, 4)
        (entries,) = struct.unpack_from(order + "H", data, directory)
        struct.unpack_from(order + "I", data, directory + 2 + 12 * entries)  # where the next directory is
        for start in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind, count = struct.unpack_from(order + "HHI", data, start)
            size = count * _TIFF_SIZES.get(kind, 0)
            place = start + 8 if size <= 4 else struct.unpack_from(order + "I", data, start + 8)[0]
            if place + size > len(data):
                raise struct.error
            if tag in _TIFF_PLACES and kind in (3, 4):
                places[tag] = struct.unpack_from(f"{order}{count}{'H' if kind == 3 else 'I'}", data, place)
    except struct.error:
        raise Unusable(Reason.TRUNCATED, f"ends after {len(data)} bytes, before its directory does") from None
    for offsets, sizes in ((273, 279), (324, 325)):
        ends = [sum(part) for part in zip(places.get(offsets, ()), places.get(sizes, ()), strict=False)]
        if ends and max(ends) > len(data):
            raise Unusable(Reason.TRUNCATED, f"has {len(data)} of at least {max(ends)} bytes")


_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # bytes of each type
_TIFF_PLACES = {273, 279, 324, 325}  # StripOffsets, StripByteCounts, TileOffsets, TileByteCounts
