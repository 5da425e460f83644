"""Decode JPEGs for both programs: upright, at a reduced scale if that is enough, without the interpreter's lock.

Pillow gives the same pixels but copies them twice under the lock: sixteen threads are as fast as five. The scale is
the JPEG's own (a smaller inverse DCT), so a reduced image differs a little from a full one resized.
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
    """Decode a JPEG to uint8 (H, W, 3); with `at_least_px` it may be reduced, but not below that size.

    Return None without simplejpeg and for CMYK, which Pillow must decode. Raises ValueError if truncated.
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
    """Make Pillow decode an opened JPEG, to be turned by `way`, at the scale of `decode_rgb`; others in full."""
    factor = _reduction(image.size, at_least_px, way)
    if factor > 1:
        image.draft(None, (image.width // factor, image.height // factor))


def _reduction(stored_px: Size, at_least_px: Size | None, way: int | None) -> int:
    """Return the factor by which a JPEG of that size may be reduced."""
    if at_least_px is None:
        return 1
    least_px = at_least_px[::-1] if (way or 1) >= 5 else at_least_px  # As stored, before it is turned upright.
    for factor in REDUCTIONS:
        if all(-(-px // factor) >= least for px, least in zip(stored_px, least_px, strict=True)):
            return factor
    return 1
