"""The white level of images with more than 8 bits per sample: one rule for both programs.

Pillow reads colours of 16 bits as 8, but leaves 16-bit greys, integers of 32 bits and floating-point samples as they
are, and clips them at 255 where it converts them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # TIFF's tags.
WHITE_IS_ZERO = 0
SIGNED = 2


def eight_bits(image: Image) -> Image:
    """Return the image with 8 bits per sample: unchanged, or grey (with alpha if one grey is transparent).

    Up to 16 bits the format gives the white level: 65535, 4095 in a 12-bit TIFF, 32767 for signed samples. With 32 bits
    it is the first of 1 (floating-point only), 255, 65535 and the maximum that no sample exceeds. Below 0 is black.
    """
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    import numpy as np
    from PIL import Image as pillow

    image.load()
    tags: Any = getattr(image, "tag_v2", {})
    values_HW = np.asarray(image)
    if image.mode == "I" and tags.get(SAMPLE_FORMAT, (1,))[0] != SIGNED and image.format == "TIFF":
        values_HW = values_HW.view(np.uint32)  # Pillow has no type for them.
    white = _white(values_HW, tags.get(BITS_PER_SAMPLE, (16,))[0], tags)
    share_HW = np.clip(np.nan_to_num(values_HW.astype(np.float64)) / white, 0, 1)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:  # Pillow minds it up to 8 bits.
        share_HW = 1 - share_HW
    grey = pillow.fromarray((share_HW * 255).round().astype(np.uint8))
    grey.info = dict(image.info)  # EXIF among it.
    clear = grey.info.pop("transparency", None)
    if isinstance(clear, int):
        grey.putalpha(pillow.fromarray(np.where(values_HW == clear, 0, 255).astype(np.uint8)))
    return grey


def _white(values_HW: NDArray[np.generic], bits: int, tags: Any) -> float:
    import numpy as np

    if values_HW.dtype.kind != "f" and bits <= 16:
        return float(2 ** (bits - 1) - 1 if tags.get(SAMPLE_FORMAT, (1,))[0] == SIGNED else 2**bits - 1)
    top = float(np.nan_to_num(values_HW).max())
    if values_HW.dtype.kind == "f":
        return next((white for white in (1.0, 255.0) if top <= white), 65535.0)
    return next((white for white in (255.0, 65535.0) if top <= white), float(np.iinfo(values_HW.dtype).max))  # type: ignore[type-var]
