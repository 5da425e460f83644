"""Orientation is read as EXIF says, and where damage hides it that is known: never a guess, an error or a warning."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from PIL import Image

from schemas.images.orientation import in_words, jpeg_orientation, orientation, orientation_in
from tests.real_pictures import exif_block, plain, with_raw_profile, with_text

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def opened(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [1, 3, 4])
def test_a_sound_block(order: str, kind: int) -> None:
    for way in range(1, 9):
        block = exif_block(way, order=order, kind=kind)
        assert orientation_in(block) == orientation_in(b"Exif\0\0" + block) == way


def test_nothing_said_is_upright_and_nonsense_is_unknown() -> None:
    assert orientation_in(exif_block(None)) == 1
    assert orientation_in(exif_block(0)) == 1, "what cameras write that don't know"
    assert orientation_in(exif_block(9)) is None
    assert orientation_in(exif_block(6, kind=2)) is None, "text"
    assert orientation_in(exif_block(6, count=2000)) is None, "it would be elsewhere"
    assert orientation_in(b"Exif\0\0") is None
    assert orientation_in(b"no TIFF header") is None


def test_a_block_that_is_cut_off_is_read_as_far_as_it_goes() -> None:
    block = exif_block(6)
    ways = [orientation_in(block[:length]) for length in range(len(block) + 1)]
    known = ways.index(6)
    assert ways == [None] * known + [6] * (len(ways) - known)
    assert known < len(block) - 8, "what comes after the tag may be lost"


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_xmp_turns_nothing_as_in_browsers(name: str) -> None:
    options = {"tiffinfo": {700: XMP}} if name == "TIFF" else {"xmp": XMP}
    data = with_text(plain("RGB", "red"), XMP) if name == "PNG" else plain("RGB", "red", name, **options)
    image = opened(data)
    assert opened(data).getexif().get(0x0112) == 6, "which Pillow would do"
    assert orientation(image) == 1
    if name == "JPEG":
        assert jpeg_orientation(data) == 1


def test_a_png_tells_it_after_its_pixels_or_in_an_old_way() -> None:
    data = plain("RGB", "red", exif=exif_block(6))
    start = data.index(b"eXIf") - 4
    end = start + 12 + struct.unpack_from(">I", data, start)[0]
    iend = data.index(b"IEND") - 4
    moved = data[:start] + data[end:iend] + data[start:end] + data[iend:]
    assert orientation(opened(data)) == orientation(opened(moved)) == 6
    assert orientation(opened(with_raw_profile(plain("RGB", "red"), exif_block(8).hex()))) == 8
    assert orientation(opened(with_raw_profile(plain("RGB", "red"), "no digits"))) is None


def test_a_jpeg_whose_block_goes_on_in_the_next_segment() -> None:
    block = exif_block(6)
    data = plain("RGB", "red", "JPEG")
    parts = [b"Exif\0\0" + block[:20], b"Exif\0\0" + block[20:]]
    segments = b"".join(b"\xff\xff\xe1" + struct.pack(">H", len(part) + 2) + part for part in parts)
    both = data[:2] + segments + data[2:]
    assert jpeg_orientation(both) == orientation(opened(both)) == 6


def test_a_jpeg_with_a_marker_that_nothing_belongs_to() -> None:
    """No decoder minds it; a length read there would lead past the block, and the picture would lie on its side."""
    data, block = plain("RGB", "red", "JPEG"), b"Exif\0\0" + exif_block(6)
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    restarted = data[:2] + b"\xff\xd3" + segment + data[2:]
    assert jpeg_orientation(restarted) == orientation(opened(restarted)) == 6
    assert jpeg_orientation(data[:2] + b"\xff\x01" + segment + data[2:]) == 6


def test_many_files_are_counted_and_a_few_named() -> None:
    assert in_words(["a.jpg"]).startswith("1 image has EXIF that can't be read")
    assert in_words([f"{n}.jpg" for n in range(1200)]).endswith("9.jpg and 1,190 more")
