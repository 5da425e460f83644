"""Decode an image no larger than a limit, for the processors of transformers and for the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from curator.images.read import read_rgb

if TYPE_CHECKING:
    from PIL.Image import Image


def downscaled(path: str, *, max_pixels: int | None = None, max_side_px: int | None = None) -> Image:
    """Return the image in RGB, upright, on white, downscaled to the limits. Raises CannotRead, OSError."""
    import imagesize
    from PIL import Image

    size = within(imagesize.get(path), max_pixels, max_side_px)
    # EXIF may swap the header's width and height, so request the longer one for both.
    least_px = max(size)
    pixels_HWC = read_rgb(path, (least_px, least_px) if least_px > 0 else None)
    image = Image.fromarray(pixels_HWC)
    size = within(image.size, max_pixels, max_side_px)
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def within(size: tuple[int, int], max_pixels: int | None, max_side_px: int | None) -> tuple[int, int]:
    """Return width and height in px, scaled to the limits, with the same aspect ratio and at least 1 px a side."""
    width, height = size
    scale = 1.0
    if max_pixels is not None and width * height > max_pixels:
        scale = (max_pixels / (width * height)) ** 0.5
    if max_side_px is not None and max(size) * scale > max_side_px:
        scale = max_side_px / max(size)
    return size if scale == 1.0 else (max(1, round(width * scale)), max(1, round(height * scale)))
