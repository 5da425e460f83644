"""Read images for local models: RGB bytes, upright, on white, JPEGs decoded at a reduced scale.

    pixels_HWC = read_rgb(path, at_least_px=(384, 384))     # as large as it comes, but not below that
    pixels_CHW = resized(pixels_HWC, 384, 384)

A JPEG is decoded at 1/2, 1/4 or 1/8 if that leaves `at_least_px` on both sides: decoding and the resize that follows
cost a fraction. The reduction is the JPEG's own (a smaller inverse DCT), so the result differs a little
from a full decode and the same resize: by 1.1 of 255 on average for 1024 px to 384 px, at most 1.6 where the reduced
picture has the wanted size already (noisy pictures; calm ones differ less; tests/curator/images/test_read.py).
Everything here is safe on many threads, and the slow parts release the interpreter's lock.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from curator.images.decode import on_white, opened, unusable
from curator.images.formats import check_complete, sniff
from curator.images.unusable import CannotRead, Unusable
from schemas.images import jpeg
from schemas.images.bit_depth import eight_bits
from schemas.images.jpeg import Size
from schemas.images.orientation import orientation, turned


def read_rgb(path: str | Path, at_least_px: Size | None = None) -> NDArray[np.uint8]:
    """Read an image file as uint8 (H, W, 3); with `at_least_px` a JPEG may be reduced, but not below that size.

    Strict about truncated files. Raises CannotRead with a reason that doesn't name the file, OSError.
    """
    data = Path(path).read_bytes()
    try:
        return decode_rgb(data, at_least_px)
    except Unusable as error:
        raise CannotRead(f"the image can't be used: {error.reason}") from error


def decode_rgb(data: bytes, at_least_px: Size | None = None) -> NDArray[np.uint8]:
    """`read_rgb` of a file's bytes. Raises Unusable."""
    image_format = sniff(data[:64])
    check_complete(data, image_format)
    try:
        decoded = jpeg.decode_rgb(data, at_least_px) if image_format == "jpeg" else None
        return _decode_with_pillow(data, image_format, at_least_px) if decoded is None else decoded
    except Unusable:
        raise
    except Exception as error:  # decoders raise almost anything on broken input
        raise unusable(data, image_format, error) from error


def resized(pixels_HWC: NDArray[np.uint8], height_px: int, width_px: int) -> NDArray[np.uint8]:
    """Resize by antialiased bicubic, as transformers' image processors do on torch: uint8 (3, height, width).

    Within 2 of 255 of Pillow's bicubic, and several times as fast. Proportions aren't kept.
    """
    import torch

    pixels_1CHW = torch.from_numpy(np.require(pixels_HWC, requirements="W")).permute(2, 0, 1).unsqueeze(0)
    size = (height_px, width_px)
    if pixels_1CHW.shape[2:] != size:
        pixels_1CHW = torch.nn.functional.interpolate(pixels_1CHW, size, mode="bicubic", antialias=True)
    made: NDArray[np.uint8] = np.ascontiguousarray(pixels_1CHW[0].numpy())
    return made


def _decode_with_pillow(data: bytes, image_format: str, at_least_px: Size | None) -> NDArray[np.uint8]:
    with opened(data, image_format) as image:
        way = orientation(image)
        if image_format == "jpeg" and at_least_px:
            jpeg.draft(image, at_least_px, way)
        image.load()
        pixels = _rgb(image)
        return pixels if image_format == "tiff" else turned(pixels, way)  # Pillow turns it as it loads it.


def _rgb(image: Image) -> NDArray[np.uint8]:

    image = eight_bits(image)
    if image.has_transparency_data:
        image = on_white(image.convert("RGBA"))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))  # np.asarray's can't be written to
