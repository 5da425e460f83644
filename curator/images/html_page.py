"""Single-file HTML pages that commands write, with their images inside."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.images.read import read_rgb
from curator.images.unusable import CannotRead
from schemas.errors import AlreadyExists, BadOption

START_BYTES = 4096
QUALITY = 82


def refuse_other_file(page: Path, generator: str) -> None:
    """Refuse to overwrite a file that isn't an earlier page of ours (marked by the tag `generator`).

    Raises AlreadyExists, BadOption.
    """
    if page.is_dir():
        raise BadOption(f"--out {page}: is a folder. Name the page, for example {page / 'captions.html'}.")
    parent = next(folder for folder in page.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise BadOption(f"--out {page}: {parent} is a file, so no page can lie in it. Choose another place.")
    if page.exists():
        with page.open("rb") as file:
            if generator.encode() not in file.read(START_BYTES):
                raise AlreadyExists(f"--out {page}: is there and no page of this command. Choose another name.")


def thumbnail(path: str, side_px: int) -> str | None:
    """Return the image on white as WebP, at most `side_px` on its longer side; None if it can't be read."""
    try:
        pixels_HWC = read_rgb(path, (side_px, side_px))
    except (CannotRead, OSError):
        return None
    return "data:image/webp;base64," + b64encode(_webp(pixels_HWC, side_px)).decode()


def _webp(pixels_HWC: NDArray[np.uint8], side_px: int) -> bytes:
    image = Image.fromarray(pixels_HWC)
    image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, method=4)
    return buffer.getvalue()
