"""The perceptual hash and its distance, on the real drawings the product ships."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curator.images.decode import decode
from curator.ingest.measure import DEFAULT_MAX_PIXELS
from curator.ingest.near_duplicates import DISTANCE_BITS
from curator.ingest.phash import perceptual_hash
from tests.curator.images.pictures import encoded, picture

DRAWINGS = sorted(Path(__file__).parents[3].glob("examples/openmoji/images/*.png"))


def hash_of(data: bytes) -> int:
    return perceptual_hash(decode(data, DEFAULT_MAX_PIXELS).grey_HW)


@cache
def drawing_hashes() -> list[int]:
    return [hash_of(path.read_bytes()) for path in DRAWINGS]


def apart(one: int, other: int) -> int:
    return (one ^ other).bit_count()


def test_no_two_different_drawings_are_near() -> None:
    hashes = np.array(drawing_hashes(), dtype=np.uint64)
    assert len(hashes) >= 250
    bits = np.bitwise_count(hashes[:, None] ^ hashes[None])
    np.fill_diagonal(bits, 64)
    near = [(DRAWINGS[i].stem, DRAWINGS[j].stem) for i, j in np.argwhere(bits <= DISTANCE_BITS)]
    assert near == []


def on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")


COPIES = {
    "jpeg, quality 90": lambda image: encoded(on_white(image), "JPEG", quality=90),
    "jpeg, quality 30": lambda image: encoded(on_white(image), "JPEG", quality=30),
    "webp, quality 50": lambda image: encoded(on_white(image), "WEBP", quality=50),
    "half the size": lambda image: encoded(image.resize((128, 128), Image.Resampling.LANCZOS)),
    "three times the size": lambda image: encoded(image.resize((768, 768), Image.Resampling.BICUBIC), compress_level=1),
    "72 px": lambda image: encoded(image.resize((72, 72), Image.Resampling.LANCZOS)),
}


SLOW = "three times the size"


@pytest.mark.parametrize("copy", [pytest.param(copy, marks=[pytest.mark.slow] * (copy == SLOW)) for copy in COPIES])
def test_a_rescaled_or_re_encoded_copy_is_near(copy: str) -> None:
    step = 4
    found = [
        apart(drawing_hashes()[place], hash_of(COPIES[copy](Image.open(DRAWINGS[place])))) <= DISTANCE_BITS
        for place in range(0, len(DRAWINGS), step)
    ]
    assert sum(found) / len(found) >= 0.98


def test_the_hash_is_of_the_upright_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    lying = picture(7).transpose(Image.Transpose.ROTATE_90)
    assert apart(hash_of(encoded(lying, "PNG", exif=exif)), hash_of(encoded(picture(7), "PNG"))) == 0


def test_a_drawing_and_its_copy_on_white_are_the_same() -> None:
    drawing = Image.open(DRAWINGS[0])
    assert drawing.mode == "RGBA"
    assert apart(hash_of(DRAWINGS[0].read_bytes()), hash_of(encoded(on_white(drawing)))) <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (31, 33), (300, 200)])
def test_a_blank_picture_of_any_size_has_no_structure(size: tuple[int, int]) -> None:
    buffer = BytesIO()
    Image.new("L", size, 90).save(buffer, "PNG")
    assert hash_of(buffer.getvalue()) == 0
