"""One strict decode: right measures for every format, and no broken file accepted."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps

from curator.images.decode import decode, pillow_for_ingest
from curator.images.formats import sniff
from curator.images.unusable import Reason, Unusable
from curator.ingest.measure import DEFAULT_MAX_PIXELS, measure
from curator.ingest.phash import perceptual_hash
from tests.curator.images.pictures import ENCODINGS, encoded, picture


@pytest.fixture(autouse=True)
def _as_in_an_ingest() -> Iterator[None]:
    with pillow_for_ingest():
        yield


def refusal(data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> Unusable:
    with pytest.raises(Unusable) as caught:
        decode(data, max_pixels)
    assert caught.value.detail and "\n" not in caught.value.detail and "object at" not in caught.value.detail
    return caught.value


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_measures_every_format(encoding: str) -> None:
    name, pillow_name, options = ENCODINGS[encoding]
    decoded = decode(encoded(picture(), pillow_name, **options), DEFAULT_MAX_PIXELS)
    assert (decoded.format, decoded.width_px, decoded.height_px) == (name, 90, 60)
    assert (decoded.has_alpha, decoded.exif_orientation) == (False, 1)
    assert decoded.grey_HW.dtype == np.uint8 and min(decoded.grey_HW.shape) >= 32


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_refuses_a_file_cut_anywhere(encoding: str) -> None:
    _, pillow_name, options = ENCODINGS[encoding]
    data = encoded(picture(), pillow_name, **options)
    cuts = {len(data) * part // 25 for part in range(1, 25)} | {len(data) - tail for tail in (1, 2, 3, 8, 12)}
    for cut in sorted(cuts):
        assert refusal(data[:cut]).reason is Reason.TRUNCATED, f"{cut} of {len(data)} bytes"


def test_refuses_a_png_with_any_byte_changed() -> None:
    data = bytearray(encoded(picture(), "PNG"))
    for place in range(8, len(data), max(1, len(data) // 60)):
        data[place] ^= 0x40
        assert refusal(bytes(data)).reason in {Reason.CORRUPT, Reason.TRUNCATED}, f"byte {place}"
        data[place] ^= 0x40


def test_refuses_a_jpeg_whose_stream_breaks_off_inside() -> None:
    data = encoded(picture(size=(640, 480)), "JPEG")
    hole = data[: len(data) // 2] + bytes(400) + data[len(data) // 2 + 400 :]
    assert refusal(hole).reason is Reason.CORRUPT


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"hello, world, this is a text and no picture at all", Reason.NOT_AN_IMAGE),
        (b"BM, said the text, and went on for longer than a header", Reason.NOT_AN_IMAGE),
        (b"\x89PNG", Reason.TRUNCATED),
        (b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00avifmif1miaf", Reason.UNSUPPORTED_FORMAT),
        (b"\x00\x00\x00\x1cftypheic\x00\x00\x00\x00mif1heic", Reason.UNSUPPORTED_FORMAT),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", Reason.UNSUPPORTED_FORMAT),
        (b"%PDF-1.7 and so on", Reason.UNSUPPORTED_FORMAT),
        (b"GIF89a" + bytes(7) + b"\x55" + bytes(20), Reason.CORRUPT),
        (b"\xff\xd8\xff\xe0" + bytes(60) + b"\xff\xd9", Reason.CORRUPT),
    ],
)
def test_tells_what_isnt_a_picture_from_what_is_broken(data: bytes, reason: Reason) -> None:
    assert refusal(data).reason is reason


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_refuses_too_many_pixels_by_the_header_alone(encoding: str) -> None:
    _, pillow_name, options = ENCODINGS[encoding]
    found = refusal(encoded(picture(), pillow_name, **options), max_pixels=90 * 60 - 1)
    assert found.reason is Reason.TOO_LARGE and "90x60 = 5,400 pixels" in found.detail
    decode(encoded(picture(), pillow_name, **options), max_pixels=90 * 60)


def test_a_decompression_bomb_is_refused_without_decoding_it() -> None:
    bomb = encoded(Image.new("1", (14_000, 14_000)), "PNG", compress_level=1)
    assert len(bomb) < 1_000_000
    assert refusal(bomb).reason is Reason.TOO_LARGE


def test_the_first_picture_of_an_animation_counts() -> None:
    first, second = picture(1), picture(2)
    for pillow_name in ("GIF", "WEBP", "PNG", "TIFF"):
        still = decode(encoded(first, pillow_name), DEFAULT_MAX_PIXELS)
        moving = decode(encoded(first, pillow_name, save_all=True, append_images=[second]), DEFAULT_MAX_PIXELS)
        assert np.abs(moving.grey_HW.astype(int) - still.grey_HW.astype(int)).mean() < 3, pillow_name


@pytest.mark.parametrize(
    ("mode", "pillow_name", "has_alpha"),
    [
        ("RGBA", "PNG", True),
        ("LA", "PNG", True),
        ("RGBA", "WEBP", True),
        ("RGBA", "TIFF", True),
        ("L", "PNG", False),
        ("1", "PNG", False),
        ("P", "PNG", False),
        ("CMYK", "JPEG", False),
        ("L", "JPEG", False),
        ("CMYK", "TIFF", False),
    ],
)
def test_every_mode_gives_the_same_grey(mode: str, pillow_name: str, has_alpha: bool) -> None:
    image = picture(3).convert("1", dither=Image.Dither.NONE) if mode == "1" else picture(3).convert(mode)
    expected = np.asarray(image.convert("RGB").convert("L")).astype(int)
    if has_alpha:
        image.putpixel((0, 0), (0,) * (len(mode) - 1) + (250,))  # WebP drops an alpha channel that says nothing
    decoded = decode(encoded(image, pillow_name), DEFAULT_MAX_PIXELS)
    assert decoded.has_alpha is has_alpha
    assert np.abs(decoded.grey_HW.astype(int) - expected).mean() < 3


def test_transparent_parts_are_white() -> None:
    image = picture(4, mode="RGBA")
    image.putalpha(0)
    palette = picture(4).convert("P")
    for data in (encoded(image), encoded(image, "WEBP", lossless=True)):
        decoded = decode(data, DEFAULT_MAX_PIXELS)
        assert decoded.has_alpha and decoded.grey_HW.min() == 255
    decoded = decode(encoded(palette, transparency=palette.getpixel((0, 0))), DEFAULT_MAX_PIXELS)
    assert decoded.has_alpha and decoded.grey_HW[0, 0] == 255


def test_sixteen_bits_keep_their_shades() -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    decoded = decode(encoded(Image.fromarray(ramp)), DEFAULT_MAX_PIXELS)
    assert np.abs(decoded.grey_HW.astype(int) - (ramp // 257).astype(int)).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("pillow_name", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_undone_as_viewers_do(orientation: int, pillow_name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(5), pillow_name, exif=exif)
    decoded = decode(data, DEFAULT_MAX_PIXELS)
    assert (decoded.exif_orientation, decoded.width_px, decoded.height_px) == (orientation, 90, 60)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(data))).convert("L")).astype(int)
    assert decoded.grey_HW.shape == upright.shape
    assert np.abs(decoded.grey_HW.astype(int) - upright).mean() < 3


def test_broken_exif_in_a_sound_picture_tells_no_orientation() -> None:
    data = encoded(picture(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    decoded = decode(data, DEFAULT_MAX_PIXELS)
    assert decoded.exif_orientation is None
    assert (decoded.grey_HW == decode(encoded(picture(), "JPEG"), DEFAULT_MAX_PIXELS).grey_HW).all()


def test_the_bytes_decide_not_the_suffix(tmp_path: object) -> None:
    assert sniff(encoded(picture(), "JPEG")[:64]) == "jpeg"
    from pathlib import Path

    path = Path(str(tmp_path)) / "really-a-jpeg.png"
    path.write_bytes(encoded(picture(), "JPEG"))
    measured = measure(path)
    assert (measured.format, measured.size_bytes) == ("jpeg", path.stat().st_size)
    assert measured.phash == perceptual_hash(decode(path.read_bytes(), DEFAULT_MAX_PIXELS).grey_HW)
