"""Both programs see the same picture in a file, whatever its samples are: what is captioned is what is trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curator.annotate.previews.make import make_preview
from curator.images.decode import decode, pillow_for_ingest
from curator.images.read import decode_rgb
from curator.ingest import ingest
from schemas.images.orientation import orientation_in
from tests.curator.lab import new_catalog
from tests.real_pictures import SIDE, beside, exif_block, flat, plain, png, tiff, written
from trainer_client.data.images import decode_all, opacity, pixels
from trainer_client.data.snapshot import Row

WHITE, BLACK = (255,) * 3, (0,) * 3
GREY = (100,) * 3
RAMP = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4)


def palette(clear: int | bytes | None) -> bytes:
    image = Image.new("P", (SIDE, SIDE), 1)
    image.putpalette([0, 0, 0, 10, 100, 200])
    return written(image, **({} if clear is None else {"transparency": clear}))


PICTURES: dict[str, tuple[bytes, tuple[int, ...], bool]] = {  # file, its colour, whether that is transparent
    "1 bit, black": (plain("1", 0), BLACK, False),
    "1 bit, white": (plain("1", 1), WHITE, False),
    "2 bits": (png([2], 2, 0), (170,) * 3, False),
    "8 bits": (plain("L", 100), GREY, False),
    "8 bits, that grey is transparent": (png([100], 8, 0, [100]), WHITE, True),
    "8 bits and alpha": (plain("LA", (100, 255)), GREY, False),
    "8 bits, transparent": (plain("LA", (100, 0)), WHITE, True),
    "16 bits": (plain("I;16", 25700), GREY, False),
    "16 bits, nearly black": (plain("I;16", 200), (1,) * 3, False),
    "16 bits, that grey is transparent": (png([25700], 16, 0, [25700]), WHITE, True),
    "16 bits, another is transparent": (png([25700], 16, 0, [25701]), GREY, False),
    "16 bits and alpha": (png([25700, 65535], 16, 4), GREY, False),
    "16 bits, colour": (png([200, 25700, 65535], 16, 2), (0, 100, 255), False),
    "16 bits, colour and alpha": (png([200, 25700, 65535, 65535], 16, 6), (0, 100, 255), False),
    "palette": (palette(None), (10, 100, 200), False),
    "palette, a transparent entry": (palette(1), WHITE, True),
    "palette, half transparent": (palette(b"\xff\x80"), (132, 177, 227), True),
    "gif": (plain("P", 1, "GIF", transparency=1), WHITE, True),
    "CMYK": (plain("CMYK", (0, 155, 255, 0), "JPEG", quality=100), (255, 100, 0), False),
    "CMYK TIFF": (plain("CMYK", (0, 155, 255, 0), "TIFF"), (255, 100, 0), False),
    "TIFF, 12 bits": (tiff(b"\x64\x66\x46" * 32, 12), GREY, False),
    "TIFF, 16 bits": (tiff(flat(25700, "u2"), 16), GREY, False),
    "TIFF, 16 bits, nearly black": (tiff(flat(200, "u2"), 16), (1,) * 3, False),
    "TIFF, 16 bits, big-endian": (tiff(flat(25700, "u2"), 16, order=">"), GREY, False),
    "TIFF, 16 bits, white is 0": (tiff(flat(65535 - 25700, "u2"), 16, white_is_zero=True), GREY, False),
    "TIFF, 16 bits, compressed": (
        written(Image.fromarray(flat(25700, "u2")), "TIFF", compression="tiff_lzw"),
        GREY,
        False,
    ),
    "TIFF, 16 bits, signed": (tiff(flat(12850, "i2"), 16, 2), GREY, False),
    "TIFF, 16 bits, below 0": (tiff(flat(-200, "i2"), 16, 2), BLACK, False),
}
OF_32_BITS = {  # Left half white, right half the grey.
    "whole, to 255": tiff(beside([255, 100], "u4"), 32),
    "whole, to 65535": tiff(beside([65535, 25700], "u4"), 32),
    "whole, to the most": tiff(beside([0xFFFFFFFF, 0x64646464], "u4"), 32),
    "signed, to 255": tiff(beside([255, 100], "i4"), 32, 2),
    "signed, to the most": tiff(beside([0x7FFFFFFF, 0x32323232], "i4"), 32, 2),
    "floating, to 1": tiff(beside([1, 100 / 255], "f4"), 32, 3),
    "floating, to 255": tiff(beside([255, 100], "f4"), 32, 3),
    "floating, to 65535": tiff(beside([65535, 25700], "f4"), 32, 3),
}


@pytest.fixture(autouse=True)
def as_in_an_ingest() -> Iterator[None]:
    with pillow_for_ingest():
        yield


def row_of(data: bytes, folder: Path) -> Row:
    path = folder / "picture"
    path.write_bytes(data)
    return Row(path, hashlib.sha256(data).hexdigest(), {}, SIDE, SIDE)


def by_both(data: bytes, folder: Path) -> dict[str, np.ndarray]:
    """What captioners, annotators and the trainer are shown, (H, W, 3), and what near-duplicates are found by."""
    row = row_of(data, folder)
    (folder / "previews").mkdir(exist_ok=True)
    with Image.open(make_preview(row.path, row.sha256, folder / "previews")) as preview:
        annotators = np.asarray(preview)
    grey_HW = decode(data, 1000).grey_HW
    return {
        "trainer": pixels(row, SIDE),
        "captioners": decode_rgb(data),
        "annotators": annotators,
        "hashed": np.repeat(grey_HW[:, :, None], 3, axis=2),
    }


@pytest.mark.parametrize("kind", PICTURES)
def test_a_colour_is_the_same_in_both_programs(kind: str, tmp_path: Path) -> None:
    data, colour, is_clear = PICTURES[kind]
    luma = round(0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2])
    for who, found in by_both(data, tmp_path).items():
        expected = (luma,) * 3 if who == "hashed" else colour
        assert np.abs(found[2, 3].astype(int) - expected).max() <= (3 if who == "annotators" else 1), who
    opaque = opacity(row_of(data, tmp_path), 2, 2)
    assert (opaque is None or opaque.min() == 255) is not is_clear
    if is_clear:
        assert decode(data, 1000).has_alpha


@pytest.mark.parametrize("kind", OF_32_BITS)
def test_samples_of_32_bits_run_to_what_their_largest_tells(kind: str, tmp_path: Path) -> None:
    for who, found in by_both(OF_32_BITS[kind], tmp_path).items():
        tolerance = 3 if who == "annotators" else 1
        assert np.abs(found[4, 1].astype(int) - 255).max() <= tolerance, who
        assert np.abs(found[4, 6].astype(int) - 100).max() <= tolerance, who


def test_dark_pictures_are_as_dark_as_their_format_says(tmp_path: Path) -> None:
    """By the bits of a sample, never by the largest value: a night scene isn't brightened, nor is one of two alike."""
    for value in (0, 100, 255, 256, 1000):
        data = plain("I;16", value)
        shown = {who: int(found[0, 0, 0]) for who, found in by_both(data, tmp_path).items()}
        assert set(shown.values()) == {round(value / 257)}, value


@pytest.mark.parametrize("way", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "16 bits"])
def test_pictures_are_turned_the_same_way(name: str, way: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = way
    corners = beside([255, 170, 85, 0], "u1") // np.array([[1]] * 4 + [[2]] * 4, "u1")
    image = Image.fromarray(corners.astype("u2") * 257 if name == "16 bits" else np.repeat(corners[..., None], 3, 2))
    options = {"quality": 100} if name == "JPEG" else {"lossless": True} if name == "WEBP" else {}
    data = written(image, "PNG" if name == "16 bits" else name, exif=exif, **options)
    turned = TURNS[way](corners.astype(int))[..., None]
    for who, found in by_both(data, tmp_path).items():
        assert np.abs(found.astype(int) - turned).mean() <= (6 if who == "annotators" else 2), who
    assert decode(data, 1000).exif_orientation == way


TURNS = {  # Exif 2.32, 4.6.4 A: where the stored row 0 and column 0 belong.
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).T,
    8: np.rot90,
}


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_a_damaged_exif_block_turns_nothing_and_stops_nothing(name: str, tmp_path: Path) -> None:
    """Cut off anywhere, or with any byte changed, it's the same picture in both: turned where the tag can be read."""
    block, random = exif_block(6), np.random.default_rng(0)
    damaged = [block[: int(length)] for length in random.integers(0, len(block), 12)]
    for place in random.integers(0, len(block), 24):
        damaged += [block[:place] + bytes([int(random.integers(256))]) + block[place + 1 :]]
    damaged += [b"MM\0*\xff\xff\xff\xff", b"MM", b"II*\0\x08\0\0\0\xff\xff", b"\xff" * 200]
    image = Image.fromarray(np.repeat(beside([255, 0], "u1")[..., None], 3, 2))
    options = {"quality": 100} if name == "JPEG" else {"lossless": True} if name == "WEBP" else {}
    for part in filter(None, damaged):
        data = written(image, name, exif=b"Exif\0\0" + part, **options)
        way = decode(data, 1000).exif_orientation
        assert way == orientation_in(part)
        expected = TURNS[way or 1](np.asarray(image)[..., 0].astype(int))[..., None]
        for who, found in by_both(data, tmp_path).items():
            assert np.abs(found.astype(int) - expected).mean() <= 6, (who, part)


def test_both_programs_name_the_files_whose_orientation_cannot_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "sound.jpg").write_bytes(plain("RGB", "red", "JPEG", exif=exif_block(6)))
    (folder / "cut.jpg").write_bytes(plain("RGB", "blue", "JPEG", exif=b"Exif\0\0" + exif_block(6)[:15]))
    catalog = new_catalog(tmp_path / "catalog.duckdb")
    result = ingest(catalog, folder, "broken", person="ann")
    again = ingest(catalog, folder, "broken", person="ann")
    catalog.close()
    told = "1 image has EXIF that can't be read, so which way up is unknown; taken as stored: cut.jpg"
    assert result.images == 2 and result.notes == [f"{told}."] and again.notes == [], "once"
    said = []
    rows = [Row(path, hashlib.sha256(path.read_bytes()).hexdigest(), {}, SIDE, SIDE) for path in folder.iterdir()]
    assert decode_all(rows, progress=lambda stage, done, total, detail="": said.append(detail)) == ["cut.jpg"]
    assert [detail for detail in said if detail] == [told]
