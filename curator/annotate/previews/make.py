"""Make previews: small JPEGs of the catalog's images, in `<catalog>.previews` beside the catalog.

A preview carries none of the image's own metadata (EXIF, comments): those may tell where and by whom it was taken.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

from PIL import Image

from curator.images.decode import pillow_for_ingest
from schemas.errors import AmatlError, ChecksumMismatch
from schemas.images.bit_depth import eight_bits
from schemas.images.orientation import upright
from schemas.progress import Progress, silent

MAX_SIDE_PX = 1600
JPEG_QUALITY = 88
SHA256 = re.compile(r"[0-9a-f]{64}")


class PreviewFailed(AmatlError):
    """A picture can't be turned into a preview. Run: curator doctor"""


def preview_folder(catalog_path: Path) -> Path:
    """Return `<catalog>.previews`, the folder of a catalog's previews. Make it if missing, mode 0700."""
    folder = catalog_path.with_name(f"{catalog_path.name}.previews")
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def preview_path(folder: Path, image_sha256: str) -> Path:
    """Return the path of an image's preview, folder/ab/<sha256>.jpg, made or not. Raise ValueError for no sha256."""
    if not SHA256.fullmatch(image_sha256):
        raise ValueError("not a sha256")
    return folder / image_sha256[:2] / f"{image_sha256}.jpg"


def has_preview(folder: Path, image_sha256: str) -> bool:
    """Return whether the preview exists. An empty file doesn't count: a power cut may leave one."""
    path = preview_path(folder, image_sha256)
    return path.is_file() and path.stat().st_size > 0


def make_preview(image_path: Path, image_sha256: str, folder: Path, side_px: int = MAX_SIDE_PX) -> Path:
    """Make a JPEG of at most `side_px` a side, upright, on white, unless it exists. Return its path.

    The file appears whole or not at all. Raise PreviewFailed if the image is missing or can't be decoded,
    ChecksumMismatch if its bytes are no longer those in the catalog.
    """
    target = preview_path(folder, image_sha256)
    if has_preview(folder, image_sha256):
        return target
    try:
        data = image_path.read_bytes()
    except OSError as error:
        raise PreviewFailed(f"{image_path}: can't be read ({error.strerror or error}). Run: curator doctor") from error
    if hashlib.sha256(data).hexdigest() != image_sha256:
        raise ChecksumMismatch(f"{image_path}: changed since it was ingested. Ingest its folder again, then push.")
    jpeg = _jpeg(data, image_path, side_px)
    target.parent.mkdir(mode=0o700, exist_ok=True)
    temporary = target.with_name(f".{image_sha256}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        temporary.write_bytes(jpeg)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def make_previews(images: Sequence[tuple[Path, str]], folder: Path, progress: Progress = silent) -> list[AmatlError]:
    """Make the previews of (path, sha256) pairs on all cores. Return the failures, in the order given."""

    def attempt(image: tuple[Path, str]) -> AmatlError | None:
        try:
            make_preview(*image, folder)
        except AmatlError as error:
            return error
        return None

    failed = []
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        with pillow_for_ingest():
            for done, error in enumerate(pool.map(attempt, images), 1):
                failed += [error] if error else []
                progress("making previews", done, len(images), f"{len(failed)} failed" if failed else "")
    finally:
        pool.shutdown(cancel_futures=True)
    return failed


def _jpeg(data: bytes, image_path: Path, side_px: int) -> bytes:
    try:
        with Image.open(BytesIO(data)) as opened:
            opened.draft("RGB", (side_px, side_px))  # a large JPEG is decoded at a fraction of its size
            profile = opened.info.get("icc_profile") if opened.mode in {"RGB", "RGBA", "P"} else None
            picture = _on_white(eight_bits(upright(opened)))
    except Exception as error:  # decoders raise almost anything on broken input
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PreviewFailed(f"{image_path}: can't be decoded ({reason[:200]}). Run: curator doctor") from error
    picture.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    picture.info.clear()  # comments, EXIF: places and paths of whoever took the picture
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True, **({"icc_profile": profile} if profile else {}))
    return buffer.getvalue()


def _on_white(image: Image.Image) -> Image.Image:
    """Return the image as RGB, its transparent parts white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    white.alpha_composite(layer)
    return white.convert("RGB")
