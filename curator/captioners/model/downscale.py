"""A picture within a size, as Pillow's: what processors of transformers take, and what is sent over a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from curator.images.read import read_rgb

if TYPE_CHECKING:
    from PIL.Image import Image


def small_picture(path: str, *, max_pixels: int | None = None, max_side_px: int | None = None) -> Image:
    """The picture in RGB, upright, on white; made smaller where it is larger than the limit, never larger.

    Raises CannotRead, OSError.
    """
    import imagesize
    from PIL import Image

    size = within(imagesize.get(path), max_pixels, max_side_px)
    # The header's width and height may be those of a picture lying on its side: ask for the longer one on both.
    least_px = max(size)
    pixels_HWC = read_rgb(path, (least_px, least_px) if least_px > 0 else None)
    image = Image.fromarray(pixels_HWC)
    size = within(image.size, max_pixels, max_side_px)
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def within(size: tuple[int, int], max_pixels: int | None, max_side_px: int | None) -> tuple[int, int]:
    """Width and height in pixels, in the same proportion, within the limits; no side below 1 px."""
    width, height = size
    scale = 1.0
    if max_pixels is not None and width * height > max_pixels:
        scale = (max_pixels / (width * height)) ** 0.5
    if max_side_px is not None and max(size) * scale > max_side_px:
        scale = max_side_px / max(size)
    return size if scale == 1.0 else (max(1, round(width * scale)), max(1, round(height * scale)))
