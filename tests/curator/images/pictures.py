"""Small pictures for the tests: structured, so that their hashes differ, and encoded in every format."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ENCODINGS: dict[str, tuple[str, str, dict[str, Any]]] = {  # name: format in the catalog, Pillow's, options
    "png": ("png", "PNG", {}),
    "jpeg": ("jpeg", "JPEG", {"quality": 90}),
    "progressive": ("jpeg", "JPEG", {"progressive": True}),
    "webp": ("webp", "WEBP", {"quality": 90}),
    "webp-lossless": ("webp", "WEBP", {"lossless": True}),
    "gif": ("gif", "GIF", {}),
    "bmp": ("bmp", "BMP", {}),
    "tiff": ("tiff", "TIFF", {}),
    "tiff-lzw": ("tiff", "TIFF", {"compression": "tiff_lzw"}),
    "tiff-big-endian": ("tiff", "TIFF", {"big_endian": True}),
}


def picture(seed: int = 0, size: tuple[int, int] = (90, 60), mode: str = "RGB") -> Image.Image:
    """A smooth random picture, another one for each seed."""
    values = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.BICUBIC).convert(mode)


def encoded(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    """A picture's bytes."""
    buffer = BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def put(path: Path, seed: int = 0, **options: Any) -> Path:
    """Writes a picture in the format of the path's suffix, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix.lower().removeprefix(".")
    path.write_bytes(encoded(picture(seed, **options), {"jpg": "JPEG"}.get(suffix, suffix.upper())))
    return path
