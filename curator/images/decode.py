"""Decode an image strictly, once: size, alpha, orientation, and a small grey copy for the perceptual hash.

JPEGs are decoded at a reduced scale, which reads every byte at a fraction of the cost. A decoder's warning is a
reject: half an image is worse than none.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import imagesize
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.images.formats import check_complete, sniff
from curator.images.unusable import Reason, Unusable
from schemas.images.bit_depth import eight_bits
from schemas.images.jpeg import PRINTED
from schemas.images.orientation import jpeg_orientation, orientation, turned

SMALL_PX = 64  # the shorter side of the grey copy is at least this, where the picture is


@dataclass(frozen=True)
class Decoded:
    """Measures of an image. Width and height are as stored; `grey_HW` is upright and on white.

    `exif_orientation` is None if the EXIF can't be read: upright is then as stored.
    """

    format: str
    width_px: int
    height_px: int
    has_alpha: bool
    exif_orientation: int | None
    grey_HW: NDArray[np.uint8]


@contextmanager
def pillow_for_ingest() -> Iterator[None]:
    """Switch off Pillow's size limit and warnings: `max_pixels` and the strict checks replace them.

    This holds for the whole process, so enter it once around the threads.
    """
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def decode(data: bytes, max_pixels: int) -> Decoded:
    """Decode a whole file. Raises Unusable: truncated, corrupt, too-large, not-an-image, unsupported-format."""
    image_format = sniff(data[:64])
    check_complete(data, image_format)
    try:
        _check_size(data, max_pixels)
        decoded = _decode_jpeg(data) if image_format == "jpeg" else None
        return decoded or _decode_with_pillow(data, image_format, max_pixels)
    except Unusable:
        raise
    except Exception as error:  # decoders raise almost anything on broken input
        raise unusable(data, image_format, error) from error


def _check_size(data: bytes, max_pixels: int) -> None:
    """Check the size in the header, before a decoder allocates memory for the pixels."""
    try:
        width_px, height_px = imagesize.get(BytesIO(data))
    except Exception:  # a header it can't read is the decoder's to judge
        return
    _refuse_large(width_px, height_px, max_pixels)


def _refuse_large(width_px: int, height_px: int, max_pixels: int) -> None:
    if width_px > 0 and height_px > 0 and width_px * height_px > max_pixels:
        raise Unusable(
            Reason.TOO_LARGE, f"{width_px}x{height_px} = {width_px * height_px:,} pixels, more than {max_pixels:,}"
        )


def unusable(data: bytes, image_format: str, error: Exception) -> Unusable:
    """Translate a decoder's error: truncated or corrupt, by its message or a JPEG's missing end marker."""
    text = " ".join(str(error).split()) or type(error).__name__
    if "cannot identify" in text:
        text = f"starts like {image_format.upper()}, but can't be read as one"
    cut_off = any(
        word in text.lower() for word in ("premature end of jpeg", "truncated", "not enough", "unexpected end")
    )
    no_end = image_format == "jpeg" and b"\xff\xd9" not in data[-64:]
    return Unusable(Reason.TRUNCATED if cut_off or no_end else Reason.CORRUPT, text[:200])


def _decode_jpeg(data: bytes) -> Decoded | None:
    """Decode a JPEG at a reduced scale; None for CMYK, which Pillow converts to RGB."""
    import simplejpeg

    height_px, width_px, colours, _ = simplejpeg.decode_jpeg_header(data)
    if colours in PRINTED:
        return None
    grey = simplejpeg.decode_jpeg(data, "GRAY", min_height=SMALL_PX, min_width=SMALL_PX, strict=True)[:, :, 0]
    way = jpeg_orientation(data)
    return Decoded("jpeg", width_px, height_px, False, way, turned(grey, way))


def _decode_with_pillow(data: bytes, image_format: str, max_pixels: int) -> Decoded:
    with opened(data, image_format) as image:
        width_px, height_px = image.size
        _refuse_large(width_px, height_px, max_pixels)
        way = orientation(image)
        if image_format == "tiff" and (way or 1) >= 5:  # Pillow turns it as it loads it.
            width_px, height_px = height_px, width_px
        image.load()
        has_alpha = image.has_transparency_data
        grey = _grey_on_white(eight_bits(image), has_alpha)
        return Decoded(
            image_format, width_px, height_px, has_alpha, way, grey if image_format == "tiff" else turned(grey, way)
        )


def opened(data: bytes, image_format: str) -> Image.Image:
    """Open the image with Pillow as the format that was recognised."""
    formats = ["JPEG", "MPO"] if image_format == "jpeg" else [image_format.upper()]
    return Image.open(BytesIO(data), formats=formats)


def on_white(image: Image.Image) -> Image.Image:
    """Put an RGBA image on white."""
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    return white


def _grey_on_white(image: Image.Image, has_alpha: bool) -> NDArray[np.uint8]:
    """Return a small grey copy on white (on black, dark drawings would look the same)."""
    if has_alpha:
        return np.asarray(on_white(_reduced(image.convert("RGBA"))).convert("L"), dtype=np.uint8)
    direct = image.mode in {"L", "RGB"}
    return np.asarray(_reduced(image if direct else image.convert("RGB")).convert("L"), dtype=np.uint8)


def _reduced(image: Image.Image) -> Image.Image:
    factor = min(image.size) // SMALL_PX
    return image.reduce(factor) if factor > 1 else image
