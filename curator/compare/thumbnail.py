"""A small picture as a data URI, for pages that need no other file."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO
from typing import TYPE_CHECKING

from curator.machines import CannotCaption
from curator.machines.pictures import read_rgb

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

QUALITY = 82


def thumbnail(path: str, side_px: int) -> str | None:
    """The picture on white as WebP, its longer side `side_px` at most; None where it can't be read any more."""
    try:
        pixels_HWC = read_rgb(path, (side_px, side_px))
    except (CannotCaption, OSError):
        return None
    return "data:image/webp;base64," + b64encode(_webp(pixels_HWC, side_px)).decode()


def _webp(pixels_HWC: NDArray[np.uint8], side_px: int) -> bytes:
    from PIL import Image

    image = Image.fromarray(pixels_HWC)
    image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, method=4)
    return buffer.getvalue()
