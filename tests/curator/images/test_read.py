"""Pictures come upright, on white, whole or not at all, and hardly different where they were decoded small."""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from curator.images.read import decode_rgb, read_rgb, resized
from curator.images.unusable import CannotRead


def photograph(height: int, width: int, seed: int = 0) -> Image.Image:
    """Detail at every scale, as photographs have it."""
    random = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 128.0)
    for cells, strength in ((4, 60), (16, 30), (64, 15), (256, 12)):
        for channel in range(3):
            noise = Image.fromarray(random.normal(0, strength, (cells, cells)).astype(np.float32))
            pixels[:, :, channel] += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, name: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def difference(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    assert left.shape == right.shape
    return np.abs(left.astype(int) - right.astype(int))


@pytest.fixture(params=["simplejpeg", "pillow"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """JPEGs by simplejpeg, and where that isn't installed."""
    if request.param == "pillow":
        monkeypatch.setitem(sys.modules, "simplejpeg", None)
    return str(request.param)


def test_whole_pictures_are_those_of_pillow(decoder: str) -> None:
    image = photograph(90, 140)
    for name, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("BMP", {})):
        assert (decode_rgb(encoded(image, name, **options)) == np.asarray(image)).all()
    data = encoded(image, "JPEG", quality=92)
    assert difference(decode_rgb(data), np.asarray(Image.open(BytesIO(data)))).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_are_turned_upright(orientation: int, name: str, decoder: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photograph(300, 160), name, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(data))))
    assert difference(decode_rgb(data), upright).mean() < 1
    height, width, _ = upright.shape
    reduced = decode_rgb(data, at_least_px=(width // 2, height // 2))
    assert reduced.shape == ((height // 2, width // 2, 3) if name == "JPEG" else upright.shape)


def test_transparent_parts_are_white() -> None:
    image = photograph(40, 40).convert("RGBA")
    image.putalpha(Image.fromarray(np.repeat(np.array([[0], [255]], np.uint8), 20, axis=0).repeat(40, axis=1)))
    pixels = decode_rgb(encoded(image))
    assert (pixels[:20] == 255).all()
    assert (pixels[20:] == np.asarray(image)[20:, :, :3]).all()
    palette = photograph(40, 40).convert("P")
    assert (decode_rgb(encoded(palette, transparency=palette.getpixel((0, 0))))[0, 0] == 255).all()


def test_grey_deep_and_cmyk_pictures_are_rgb() -> None:
    ramp = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    deep = decode_rgb(encoded(Image.fromarray(ramp)))
    assert difference(deep, np.repeat((ramp // 257).astype(np.uint8)[:, :, None], 3, axis=2)).max() <= 1
    grey = photograph(32, 48).convert("L")
    assert decode_rgb(encoded(grey, "JPEG")).shape == decode_rgb(encoded(grey)).shape == (32, 48, 3)
    assert decode_rgb(encoded(photograph(64, 64).convert("CMYK"), "JPEG"), (20, 20)).shape == (32, 32, 3)


@pytest.mark.parametrize(
    "stored, wanted, came",
    [
        ((1024, 1024), (384, 384), (512, 512)),
        ((1023, 769), (384, 384), (512, 385)),
        ((767, 1024), (384, 384), (384, 512)),
        ((766, 1024), (384, 384), (766, 1024)),
        ((4000, 600), (64, 64), (500, 75)),
        ((200, 200), (384, 384), (200, 200)),
    ],
)
def test_jpegs_shrink_no_further_than_wanted(
    stored: tuple[int, int], wanted: tuple[int, int], came: tuple[int, int], decoder: str
) -> None:
    data = encoded(Image.new("RGB", stored[::-1], "teal"), "JPEG")
    assert decode_rgb(data, wanted[::-1]).shape[:2] == came


@pytest.mark.parametrize("side_px, mean, most", [(1024, 1.2, 25), (770, 2.0, 40)])
def test_decoded_small_they_differ_hardly(side_px: int, mean: float, most: int, decoder: str) -> None:
    """770 px is the worst case: the reduced picture is hardly larger than the 384 px that are wanted."""
    data = encoded(photograph(side_px, side_px), "JPEG", quality=90)
    small = resized(decode_rgb(data, (384, 384)), 384, 384)
    whole = np.asarray(Image.open(BytesIO(data)).resize((384, 384), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    apart = difference(small, whole)
    assert apart.mean() < mean
    assert apart.max() < most
    assert apart.mean() > 0  # otherwise it wasn't decoded small, and this test shows nothing


@pytest.mark.parametrize("stored", [(90, 140), (500, 384), (384, 384), (1200, 777)])
def test_resizing_is_pillows_bicubic(stored: tuple[int, int]) -> None:
    image = photograph(*stored)
    ours = resized(np.asarray(image), 384, 384)
    theirs = np.asarray(image.resize((384, 384), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert difference(ours, theirs).max() <= 2
    assert ours.flags.c_contiguous


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_half_a_picture_is_no_picture(name: str, tmp_path: Path, decoder: str) -> None:
    path = tmp_path / "half"
    whole = encoded(photograph(200, 200), name)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CannotRead, match=r"^the image can't be used: (truncated|corrupt)$"):
        read_rgb(path, (64, 64))


def test_what_is_no_picture_says_so(tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    path.write_text("<html>" + " " * 100)
    with pytest.raises(CannotRead, match="not-an-image"):
        read_rgb(path)
    with pytest.raises(FileNotFoundError):
        read_rgb(tmp_path / "gone.png")
