"""Pixels: alpha, modes, orientation, JPEG scales, damaged files."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from schemas.digest import sha256_file
from schemas.errors import BadOption, ChecksumMismatch, NotFound
from schemas.images import jpeg
from tests.real_pictures import exif_block, plain, written
from trainer_client.data import images
from trainer_client.data.images import BadImage, _rgb, decode_all, opacity, pixels
from trainer_client.data.snapshot import Row, Snapshot


def row_of(path: Path, size: tuple[int, int] = (8, 8)) -> Row:
    return Row(path, sha256_file(path), {}, *size)


def test_a_picture_that_changed_after_it_was_verified_is_refused(tmp_path: Path) -> None:
    """What is made of it would be kept under the checksum of the picture that it was."""
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8), "red").save(path)
    row = row_of(path)
    Image.new("RGB", (8, 8), "blue").save(path)
    with pytest.raises(ChecksumMismatch, match=r"a\.png: changed since it was verified"):
        pixels(row, 8)
    path.unlink()
    with pytest.raises(NotFound, match=r"a\.png: missing from the snapshot"):
        pixels(row, 8)


def test_pixels_put_alpha_on_the_background(tmp_path: Path) -> None:
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 4, 8))
    image.putpixel((7, 7), (0, 0, 0, 128))
    image.save(tmp_path / "a.png")
    white = pixels(row_of(tmp_path / "a.png"), 8)
    assert white.shape == (8, 8, 3) and white.dtype == np.uint8
    assert white[0, 0].tolist() == [255, 255, 255] and white[0, 7].tolist() == [255, 0, 0]
    assert white[7, 7].tolist() == [127, 127, 127]
    assert pixels(row_of(tmp_path / "a.png"), 8, "#0000ff")[0, 0].tolist() == [0, 0, 255]


def test_pixels_of_a_palette_with_a_transparent_entry(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0, 0, 255, 0])
    image.putpixel((3, 3), 1)
    image.save(tmp_path / "a.png", transparency=0)
    found = pixels(row_of(tmp_path / "a.png", (4, 4)), 4)
    assert found[0, 0].tolist() == [255, 255, 255] and found[3, 3].tolist() == [0, 255, 0]


@pytest.mark.parametrize(
    ("mode", "colour"), [("L", 100), ("LA", (100, 255)), ("I;16", 25700), ("CMYK", (0, 0, 0, 155))]
)
def test_pixels_of_other_modes_are_grey(tmp_path: Path, mode: str, colour: Any) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new(mode, (6, 6), colour).save(path)
    assert (abs(pixels(row_of(path, (6, 6)), 6).astype(int) - 100) <= 1).all()


@pytest.mark.parametrize("white", [1, 255, 65535])
def test_floating_point_samples_run_to_what_their_largest_tells(tmp_path: Path, white: int) -> None:
    values = np.full((6, 6), white, np.float32)
    values[3:] *= 100 / 255
    Image.fromarray(values).save(tmp_path / "a.tif")
    found = pixels(row_of(tmp_path / "a.tif", (6, 6)), 6)
    assert found[0, 0].tolist() == [255] * 3 and found[5, 5].tolist() == [100] * 3


def test_pixels_are_turned_as_exif_says(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8), "white")
    image.paste("red", (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: what is stored on top belongs to the right
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    found = pixels(row_of(tmp_path / "a.jpg"), 8)
    assert found[4, 7, 1] < 60 and found[4, 0, 1] > 200


@pytest.mark.parametrize("length", [4, 15, 34, 50])
def test_damaged_exif_neither_ends_nor_warns(tmp_path: Path, length: int) -> None:
    """Pillow warns of it as it opens a JPEG, and raises what it likes as it turns one."""
    block = exif_block(6)[:length]
    (tmp_path / "a.jpg").write_bytes(plain("RGB", "red", "JPEG", exif=b"Exif\0\0" + block, dpi=(0, 0)))
    row = row_of(tmp_path / "a.jpg")
    assert decode_all([row]) == (["a.jpg"] if length < 34 else [])
    assert pixels(row, 8)[0, 0, 0] > 250
    assert opacity(row, 4, 4) is None


def test_a_decoder_that_raises_anything_is_a_bad_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise struct.error("unpack requires a buffer of 2 bytes")

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "load", broken)
    with pytest.raises(BadImage, match=r"a\.png: can't be decoded \(unpack requires"):
        decode_all([row_of(tmp_path / "a.png")])


def test_pixels_cut_the_middle_square_and_average(tmp_path: Path) -> None:
    image = Image.new("RGB", (300, 100), "blue")
    image.paste("white", (100, 0, 200, 100))
    stripes = Image.new("RGB", (100, 50), "white")
    for x in range(0, 100, 2):
        stripes.paste("black", (x, 0, x + 1, 50))
    image.paste(stripes, (100, 50))
    image.save(tmp_path / "a.png")
    found = pixels(row_of(tmp_path / "a.png", (300, 100)), 10)
    assert (found[:4] > 250).all(), "only the middle third"
    assert (abs(found[6:].astype(int) - 128) < 12).all(), "antialiased: stripes become grey"


@pytest.fixture(params=["simplejpeg", "pillow"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """JPEGs by simplejpeg, and by Pillow, to whom CMYK and damaged ones are left."""
    if request.param == "pillow":
        monkeypatch.setitem(sys.modules, "simplejpeg", None)
    return str(request.param)


@pytest.mark.parametrize("way", [1, 6])
@pytest.mark.parametrize("shape", [(32, 32), (40, 24), (64, 64), (200, 100)])
def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: int, shape: tuple[int, int], decoder: str
) -> None:
    """At a half, a quarter or an eighth, whichever still leaves twice the shape; also of a picture on its side."""
    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = way
    smooth.resize((512, 384), Image.Resampling.BICUBIC).save(tmp_path / "a.jpg", exif=exif, quality=95)
    seen = (512, 384) if way == 1 else (384, 512)
    row = row_of(tmp_path / "a.jpg", seen)
    decoded: list[int] = []
    whole = _rgb
    monkeypatch.setattr(images, "_rgb", lambda *given: (made := whole(*given), decoded.append(made.shape[1]))[0])
    found = pixels(row, shape)
    monkeypatch.setattr(images, "SPARE_SIZE", 1000)
    assert abs(found.astype(int) - pixels(row, shape)).mean() < 2  # Its middle may lie a quarter of a pixel away.
    times = min(seen[0] / shape[0], seen[1] / shape[1])
    assert decoded[1] / decoded[0] == max(part for part in (1, 2, 4, 8) if part == 1 or times / part >= 2)


@pytest.mark.parametrize("size", [(300, 200), (301, 203)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"mode": "L"}, {"mode": "CMYK"}])
def test_jpegs_are_those_of_pillow(tmp_path: Path, size: tuple[int, int], options: dict[str, Any]) -> None:
    """To the bit, whoever decodes them: a cache that was filled where simplejpeg is missing serves as well."""
    mode, given = options.get("mode", "RGB"), {name: value for name, value in options.items() if name != "mode"}
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    noise.resize(size, Image.Resampling.BICUBIC).convert(mode).save(tmp_path / "a.jpg", quality=80, **given)
    found = _rgb((tmp_path / "a.jpg").read_bytes(), (200, 300), (255, 255, 255))
    with Image.open(tmp_path / "a.jpg") as image:
        assert (found == np.array(image.convert("RGB"))).all()


def test_half_a_jpeg_is_a_bad_image(tmp_path: Path, decoder: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    content = written(Image.fromarray(noise), "JPEG")
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(BadImage, match=r"a\.jpg: can't be decoded .*truncated"):
        pixels(row_of(tmp_path / "a.jpg", (200, 200)), 8)


@pytest.mark.parametrize("content", [b"", jpeg.MAGIC, b"GIF and nothing else"])
def test_what_is_no_picture_is_told_in_words(tmp_path: Path, content: bytes, decoder: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(BadImage, match=r"a\.jpg: can't be decoded \(not an image in a known format\)"):
        pixels(row_of(tmp_path / "a.jpg"), 8)


def test_a_jpeg_whose_header_lies_about_its_size_is_a_bad_image(
    tmp_path: Path, decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its 12 GB of pixels are more than many a machine has."""

    def no_room(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 11.8 GiB")

    if decoder == "simplejpeg":
        monkeypatch.setattr("simplejpeg.decode_jpeg", no_room)
    content = bytearray(plain("RGB", "red", "JPEG"))
    size = content.index(b"\xff\xc0") + 5
    content[size : size + 4] = struct.pack(">HH", 65000, 65000)
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(BadImage, match=r"a\.jpg: can't be decoded .*4225000000 pixels.* exceeds limit"):
        pixels(row_of(tmp_path / "a.jpg", (65000, 65000)), 8)


def test_a_background_that_is_no_colour(snapshot: Path) -> None:
    with pytest.raises(BadOption, match="--background"):
        pixels(Snapshot.open(snapshot, verify=False).rows("train")[0], 8, "no such colour")


def test_decode_all_names_the_picture_and_counts_the_others(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.new("RGB", (8, 8)).save(good)
    bad.write_bytes(good.read_bytes()[:-30])
    text = tmp_path / "text.png"
    text.write_text("no picture")
    with pytest.raises(BadImage) as caught:
        decode_all([row_of(good), row_of(bad), row_of(text)])
    assert str(bad) in str(caught.value) and "1 more" in str(caught.value)
    with pytest.raises(BadImage, match="8x8 px, the snapshot says 9x8"):
        decode_all([row_of(good, (9, 8))])
    decode_all([row_of(good)])
