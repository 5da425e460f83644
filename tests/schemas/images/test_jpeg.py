"""JPEGs by simplejpeg and by Pillow: the same numbers, whole and reduced, whatever the file is like."""

from __future__ import annotations

import io
import struct
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from schemas.images import jpeg
from schemas.images.orientation import EXIF_HEADER, orientation, upright
from tests.real_pictures import exif_block, written


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8))
    return noise.resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def by_pillow(data: bytes, at_least_px: jpeg.Size) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        jpeg.draft(image, at_least_px, orientation(image))
        return np.array(upright(image).convert("RGB"))


@pytest.mark.parametrize("way", range(1, 9))
@pytest.mark.parametrize("at_least_px", [(400, 400), (50, 50), (103, 156), (60, 10), (1, 1)])
def test_both_decoders_agree_on_scale_and_direction(way: int, at_least_px: jpeg.Size) -> None:
    data = written(picture(311, 207), "JPEG", quality=90, exif=EXIF_HEADER + exif_block(way))
    found = jpeg.decode_rgb(data, at_least_px)
    assert found is not None
    assert (found == by_pillow(data, at_least_px)).all()
    whole = (311, 207) if way < 5 else (207, 311)
    came = (found.shape[1], found.shape[0])
    assert all(px >= min(least, most) for px, least, most in zip(came, at_least_px, whole, strict=True))
    assert (found.shape[0] > found.shape[1]) == (way >= 5)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 7), (9, 9), (1, 300), (2000, 3)])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 2}, {"keep_rgb": True}, {"restart_marker_blocks": 1}]
)
def test_small_narrow_and_unusual_ones(size: tuple[int, int], options: dict[str, Any]) -> None:
    for mode in ("RGB", "L"):
        data = written(picture(*size, mode), "JPEG", **options)
        found = jpeg.decode_rgb(data)
        assert found is not None
        assert (found == by_pillow(data, (10_000, 10_000))).all()


def test_a_second_picture_or_anything_else_behind_the_first_is_ignored() -> None:
    data = written(picture(64, 48), "JPEG")
    both = io.BytesIO()
    picture(64, 48).save(both, "MPO", save_all=True, append_images=[picture(30, 20)])
    for longer in (data + b"anything", data + data, both.getvalue()):
        found = jpeg.decode_rgb(longer)
        assert found is not None
        assert (found == by_pillow(longer, (64, 64))).all()


def test_print_colours_are_left_to_pillow_and_all_are_where_simplejpeg_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert jpeg.decode_rgb(written(picture(64, 48, "CMYK"), "JPEG")) is None
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    assert jpeg.decode_rgb(written(picture(64, 48), "JPEG")) is None


@pytest.mark.parametrize("damage", ["half", "no end", "12 bits", "no height", "taller"])
def test_what_is_damaged_is_refused(damage: str) -> None:
    """Strictly: whether half a picture will do is the caller's to say."""
    data = bytearray(written(picture(311, 207), "JPEG"))
    header = data.index(b"\xff\xc0")
    if damage == "half":
        del data[len(data) // 2 :]
    elif damage == "no end":
        del data[-2:]
    elif damage == "12 bits":
        data[header + 4] = 12
    else:
        data[header + 5 : header + 7] = struct.pack(">H", 0 if damage == "no height" else 400)
    with pytest.raises(ValueError, match=r"\S"):
        jpeg.decode_rgb(bytes(data))
