"""JPEGs decoded for both programs: upright, at a reduced scale where that is enough, off the interpreter's lock.

Pillow decodes to the same numbers, but copies them twice under the lock: sixteen threads of it decode as fast as five.
The scale is the JPEG's own (a smaller inverse DCT), so a reduced picture differs a little from a whole one resized.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.images.orientation import jpeg_orientation, turned

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

MAGIC = b"\xff\xd8\xff"
REDUCTIONS = (8, 4, 2)  # The scales that JPEG decoders have fast code for; 3/8 of 1024 px costs more than 1/2.
PRINTED = {"CMYK", "YCCK"}
Size = tuple[int, int]
"""Width and height in pixels, as Pillow has them; arrays are (H, W)."""


def decode_rgb(data: bytes, at_least_px: Size | None = None) -> NDArray[np.uint8] | None:
    """A JPEG's bytes as uint8 (H, W, 3); `at_least_px` lets it come reduced, but not below that size.

    None where simplejpeg isn't installed, and for CMYK: Pillow's to do. Raises ValueError for half a picture.
    """
    try:
        import simplejpeg
    except ImportError:
        return None
    height_px, width_px, colours, _ = simplejpeg.decode_jpeg_header(data)
    if colours in PRINTED:
        return None
    way = jpeg_orientation(data)
    factor = _reduction((width_px, height_px), at_least_px, way)
    least = {"min_height": -(-height_px // factor), "min_width": -(-width_px // factor)}
    return turned(simplejpeg.decode_jpeg(data, "RGB", **least, strict=True), way)


def draft(image: Image, at_least_px: Size, way: int | None) -> None:
    """Has Pillow decode an opened JPEG, to be turned that `way`, at the scale that `decode_rgb` would; others whole."""
    factor = _reduction(image.size, at_least_px, way)
    if factor > 1:
        image.draft(None, (image.width // factor, image.height // factor))


def _reduction(stored_px: Size, at_least_px: Size | None, way: int | None) -> int:
    """By how much a JPEG of that size may shrink."""
    if at_least_px is None:
        return 1
    least_px = at_least_px[::-1] if (way or 1) >= 5 else at_least_px  # As stored, before it is turned upright.
    for factor in REDUCTIONS:
        if all(-(-px // factor) >= least for px, least in zip(stored_px, least_px, strict=True)):
            return factor
    return 1
