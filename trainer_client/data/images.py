"""Decode, crop and resize the images of a snapshot."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageColor, UnidentifiedImageError

from schemas.errors import AmatlError, BadOption, ChecksumMismatch, NotFound
from schemas.images import jpeg
from schemas.images.bit_depth import eight_bits
from schemas.images.jpeg import Size
from schemas.images.orientation import in_words, orientation, upright
from schemas.progress import Progress, silent
from trainer_client.data.parallel import in_threads
from trainer_client.data.snapshot import Row

SPARE_SIZE = 2  # JPEGs are decoded at no less than this multiple of the final size.


class BadImage(AmatlError):
    """An image can't be decoded."""


def background_colour(name: str) -> tuple[int, int, int]:
    """Return a colour name or `#rrggbb` as RGB. Raise BadOption."""
    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError as error:
        raise BadOption(f"--background {name!r} is not a colour. Use a name such as white, or #rrggbb.") from error


def pixels(row: Row, size_px: int | Size, background: str = "white") -> NDArray[np.uint8]:
    """Return the image as training uses it: uint8 (H, W, 3), cropped to `size_px` (width, height; one number for a
    square).

    Rotated by EXIF, composited on `background`, cropped at the centre, resized with antialiasing: bicubic, since
    torch's takes a tenth of the time of Pillow's Lanczos and differs by 0.4 of 255 on average (1024 to 512 px). A JPEG
    of at least four times the size is decoded at reduced scale, in half the time. Raise BadImage, ChecksumMismatch or
    NotFound with the file's name.
    """
    width, height = (size_px, size_px) if isinstance(size_px, int) else size_px
    colour = background_colour(background)
    with _reading(row) as content:
        whole_HWC = _rgb(content, (SPARE_SIZE * width, SPARE_SIZE * height), colour)
    left, top, right, bottom = _centre_box((whole_HWC.shape[1], whole_HWC.shape[0]), (width, height))
    cut_1HWC = torch.from_numpy(whole_HWC[top:bottom, left:right])[None]
    if cut_1HWC.shape[1:3] != (height, width):
        cut_1CHW = cut_1HWC.permute(0, 3, 1, 2)  # Stays channels last in memory: no copy.
        cut_1CHW = torch.nn.functional.interpolate(cut_1CHW, (height, width), mode="bicubic", antialias=True)
        cut_1HWC = cut_1CHW.permute(0, 2, 3, 1)
    resized_HWC: NDArray[np.uint8] = np.ascontiguousarray(cut_1HWC[0].numpy())
    return resized_HWC


def _rgb(content: bytes, at_least_px: Size, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return the upright image, (H, W, 3); a JPEG may be scaled down to no less than `at_least_px`."""
    if content.startswith(jpeg.MAGIC):
        try:
            decoded = jpeg.decode_rgb(content, at_least_px)
        except (ValueError, MemoryError):
            decoded = None  # Pillow tolerates the damage or names it.
        if decoded is not None:
            return decoded
    with Image.open(io.BytesIO(content)) as image:
        jpeg.draft(image, at_least_px, orientation(image))
        return np.array(on_background(eight_bits(upright(image)), colour))


def _centre_box(image: Size, shape: Size) -> tuple[int, int, int, int]:
    """Return the largest centred box of this shape: left, top, right, bottom."""
    width = min(image[0], max(1, round(image[1] * shape[0] / shape[1])))
    height = min(image[1], max(1, round(image[0] * shape[1] / shape[0])))
    left, top = (image[0] - width) // 2, (image[1] - height) // 2
    return left, top, left + width, top + height


def opacity(row: Row, width: int, height: int) -> NDArray[np.uint8] | None:
    """Return alpha, uint8 (height, width), cropped as in `pixels` and averaged; None if opaque."""
    with _reading(row) as content, Image.open(io.BytesIO(content)) as opened:
        image = eight_bits(upright(opened))
        if not image.has_transparency_data:
            return None
        alpha = image.convert("RGBA").getchannel("A")
        cut = alpha.crop(_centre_box(alpha.size, (width, height)))
        return np.array(cut.resize((width, height), Image.Resampling.BOX), dtype=np.uint8)


def crop_sizes(row: Row, size: Size) -> tuple[int, int, int, int, int, int]:
    """Return SDXL's conditioning (Podell et al. 2023) in pixels: height and width of the image, top and left of the
    crop after scaling, height and width of the result."""
    width, height = size
    scale = max(width / row.width_px, height / row.height_px)
    top, left = round((row.height_px * scale - height) / 2), round((row.width_px * scale - width) / 2)
    return row.height_px, row.width_px, top, left, height, width


def on_background(image: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """Convert an 8-bit image to RGB; transparent parts show `colour`."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    image = image.convert("RGBA")
    canvas = Image.new("RGBA", image.size, (*colour, 255))
    return Image.alpha_composite(canvas, image).convert("RGB")


@contextmanager
def _reading(row: Row, verify: bool = True) -> Iterator[bytes]:
    """Yield an image file's bytes; turn decoding errors into BadImage with its name.

    With `verify`, the bytes must match the snapshot: results are cached under its checksum.
    """
    # Pillow warns of damaged metadata and large images, which the snapshot has accepted. Set process-wide, since
    # catch_warnings isn't thread-safe, and each time, since other code may have reset the filters.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        content = row.path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"{row.path}: missing from the snapshot. Copy or export the snapshot again.") from error
    if verify and hashlib.sha256(content).hexdigest() != row.sha256:
        raise ChecksumMismatch(f"{row.path}: changed since it was verified. Copy or export the snapshot again.")
    try:
        yield content
    except MemoryError:
        raise
    except Exception as error:  # Decoders raise almost anything on broken input.
        unknown = isinstance(error, UnidentifiedImageError)  # Its text names a bytes object, not the file.
        why = "not an image in a known format" if unknown else error
        raise BadImage(f"{row.path}: can't be decoded ({why}). Remove it and export the snapshot again.") from error


def decode_all(rows: Sequence[Row], background: str = "white", progress: Progress = silent) -> list[str]:
    """Decode every image, at reduced scale if possible. Return the names of those with unreadable orientation.

    Raise BadImage for the first failure; also if a size isn't the snapshot's, since crops and grids rely on it.
    """
    background_colour(background)
    inspections = list(in_threads(_inspect, rows, "decoding images", progress))
    if problems := [inspection.problem for inspection in inspections if inspection.problem]:
        more = f" And {len(problems) - 1} more." if len(problems) > 1 else ""
        raise BadImage(problems[0] + more)
    unread = [row.path.name for row, inspection in zip(rows, inspections, strict=True) if inspection.turn is None]
    if unread:
        progress("decoding images", len(rows), len(rows), in_words(unread))
    return unread


@dataclass(frozen=True)
class _Inspection:
    """The problem with an image, if any, and its orientation."""

    problem: str | None
    turn: int | None = 1


def _inspect(row: Row) -> _Inspection:
    try:
        with _reading(row, verify=False) as content, Image.open(io.BytesIO(content)) as image:  # Verified before.
            turn, size = orientation(image), image.size
            image.draft("RGB", (256, 256))
            image.load()
    except BadImage as error:
        return _Inspection(str(error))
    if sorted(size) == sorted((row.width_px, row.height_px)):
        return _Inspection(None, turn)
    recorded = f"{row.width_px}x{row.height_px}"
    return _Inspection(f"{row.path}: {size[0]}x{size[1]} px, the snapshot says {recorded}. Export it again.")
