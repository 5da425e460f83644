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

SPARE_SIZE = 2  # How many times the size asked for a picture is decoded at, at least.


class BadImage(AmatlError):
    """A picture can't be decoded. Take the image out of the set and export the snapshot again."""


def background_colour(name: str) -> tuple[int, int, int]:
    """A colour name or `#rrggbb` as RGB. Raises BadOption."""
    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError as error:
        raise BadOption(f"--background {name!r} is no colour. Use a name (white) or #rrggbb.") from error


def pixels(row: Row, size_px: int | Size, background: str = "white") -> NDArray[np.uint8]:
    """The picture as training sees it: uint8 (H, W, 3); one number for a square.

    EXIF rotation applied, alpha composited on `background`, the middle cut out in the shape asked for, resized with
    antialiasing (bicubic: torch's takes a tenth of the time of Pillow's Lanczos and differs from it by 0.4 of 255 on
    average where 1024 px become 512). A JPEG of four times the size and more is decoded at a half, a quarter or an
    eighth, in about half the time, and is as near. Raises BadImage, ChecksumMismatch, NotFound naming the file.
    """
    width, height = (size_px, size_px) if isinstance(size_px, int) else size_px
    colour = background_colour(background)
    with _reading(row) as content:
        whole_HWC = _rgb(content, (SPARE_SIZE * width, SPARE_SIZE * height), colour)
    left, top, right, bottom = _middle((whole_HWC.shape[1], whole_HWC.shape[0]), (width, height))
    cut_1HWC = torch.from_numpy(whole_HWC[top:bottom, left:right])[None]
    if cut_1HWC.shape[1:3] != (height, width):
        cut_1CHW = cut_1HWC.permute(0, 3, 1, 2)  # Channels last, also to torch: it needn't copy them apart.
        cut_1CHW = torch.nn.functional.interpolate(cut_1CHW, (height, width), mode="bicubic", antialias=True)
        cut_1HWC = cut_1CHW.permute(0, 2, 3, 1)
    resized_HWC: NDArray[np.uint8] = np.ascontiguousarray(cut_1HWC[0].numpy())
    return resized_HWC


def _rgb(content: bytes, at_least_px: Size, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Upright (H, W, 3); a JPEG no smaller than `at_least_px`."""
    if content.startswith(jpeg.MAGIC):
        try:
            decoded = jpeg.decode_rgb(content, at_least_px)
        except (ValueError, MemoryError):
            decoded = None  # Pillow says what is wrong (a size that can't be true), or bears with it.
        if decoded is not None:
            return decoded
    with Image.open(io.BytesIO(content)) as image:
        jpeg.draft(image, at_least_px, orientation(image))
        return np.array(on_background(eight_bits(upright(image)), colour))


def _middle(image: Size, shape: Size) -> tuple[int, int, int, int]:
    """The largest box of a shape in the middle of a picture."""
    width = min(image[0], max(1, round(image[1] * shape[0] / shape[1])))
    height = min(image[1], max(1, round(image[0] * shape[1] / shape[0])))
    left, top = (image[0] - width) // 2, (image[1] - height) // 2
    return left, top, left + width, top + height


def opacity(row: Row, width: int, height: int) -> NDArray[np.uint8] | None:
    """How opaque the picture is, uint8 (height, width), cut as `pixels` cuts and averaged over areas; None: all is."""
    with _reading(row) as content, Image.open(io.BytesIO(content)) as opened:
        image = eight_bits(upright(opened))
        if not image.has_transparency_data:
            return None
        alpha = image.convert("RGBA").getchannel("A")
        cut = alpha.crop(_middle(alpha.size, (width, height)))
        return np.array(cut.resize((width, height), Image.Resampling.BOX), dtype=np.uint8)


def crop_sizes(row: Row, size: Size) -> tuple[int, int, int, int, int, int]:
    """What `pixels` does to a picture, as SDXL is told of it (Podell et al. 2023): the picture's height and width, top
    and left of the crop once it is scaled, height and width of the result; all in pixels."""
    width, height = size
    scale = max(width / row.width_px, height / row.height_px)
    top, left = round((row.height_px * scale - height) / 2), round((row.width_px * scale - width) / 2)
    return row.height_px, row.width_px, top, left, height, width


def on_background(image: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """Any mode of 8 bits as RGB; transparent parts, also a palette's transparent entry, show `colour`."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    image = image.convert("RGBA")
    canvas = Image.new("RGBA", image.size, (*colour, 255))
    return Image.alpha_composite(canvas, image).convert("RGB")


@contextmanager
def _reading(row: Row, verify: bool = True) -> Iterator[bytes]:
    """A picture's file; whatever decoding raises becomes a BadImage that names the file.

    With `verify` it must still be the picture that the snapshot was opened with: what is made of it is kept under its
    checksum.
    """
    # Of damaged metadata and large pictures, where the snapshot knows better. For the whole process: what undoes a
    # filter isn't safe in threads. Each time, since others round this may have undone theirs.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        content = row.path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"{row.path}: missing from the snapshot. Copy or export the snapshot again.") from error
    if verify and hashlib.sha256(content).hexdigest() != row.sha256:
        raise ChecksumMismatch(f"{row.path}: has changed since it was verified. Copy or export the snapshot again.")
    try:
        yield content
    except MemoryError:
        raise
    except Exception as error:  # Decoders raise almost anything on broken input.
        unknown = isinstance(error, UnidentifiedImageError)  # Whose words are of the bytes, not of the file.
        why = "no picture in a known format" if unknown else error
        raise BadImage(f"{row.path}: can't be decoded ({why}). Take it out and export the snapshot again.") from error


def decode_all(rows: Sequence[Row], background: str = "white", progress: Progress = silent) -> list[str]:
    """Decodes every picture, at a reduced scale where its format can. Raises BadImage: the first, and how many.

    Also where the picture isn't as large as the snapshot says, since crops and grids rely on it. Returns the names of
    those whose orientation can't be read, in the rows' order, and says so as progress.
    """
    background_colour(background)
    looks = list(in_threads(_look, rows, "decoding images", progress))
    if problems := [look.problem for look in looks if look.problem]:
        more = f" And {len(problems) - 1} more like it." if len(problems) > 1 else ""
        raise BadImage(problems[0] + more)
    unread = [row.path.name for row, look in zip(rows, looks, strict=True) if look.way is None]
    if unread:
        progress("decoding images", len(rows), len(rows), in_words(unread))
    return unread


@dataclass(frozen=True)
class _Look:
    """What is wrong with a picture, and how it is to be turned: see `orientation`."""

    problem: str | None
    way: int | None = 1


def _look(row: Row) -> _Look:
    try:
        with _reading(row, verify=False) as content, Image.open(io.BytesIO(content)) as image:  # Verified just now.
            way, size = orientation(image), image.size
            image.draft("RGB", (256, 256))
            image.load()
    except BadImage as error:
        return _Look(str(error))
    if sorted(size) == sorted((row.width_px, row.height_px)):
        return _Look(None, way)
    size_told = f"{row.width_px}x{row.height_px}"
    return _Look(f"{row.path}: {size[0]}x{size[1]} px, the snapshot says {size_told}. Export it again.")
