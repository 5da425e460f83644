"""What annotators look at: previews of the catalog's images and the small server of them, by signed, expiring URLs.

The server knows only the folder of previews, never the catalog: one process has that open. No part of a request becomes
a path unchecked, no answer names one, and previews carry none of the picture's own metadata. Label Studio's page loads
images by XHR without cookies, so every answer has CORS headers, errors too: else the page couldn't say what is wrong.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from PIL import Image as Images
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from curator.images.decode import pillow_for_ingest
from curator.secret_files import load_key
from schemas.errors import AmatlError, ChecksumMismatch
from schemas.images.bit_depth import eight_bits
from schemas.images.orientation import upright
from schemas.progress import Progress, silent

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_SIDE_PX = 1600
JPEG_QUALITY = 88
CACHE_SECONDS = 7 * 24 * 3600
SHA256 = re.compile(r"[0-9a-f]{64}")
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Allow-Private-Network": "true",
    "Access-Control-Max-Age": "86400",
    "X-Content-Type-Options": "nosniff",
}


class PreviewFailed(AmatlError):
    """A picture can't be turned into a preview. Run: curator doctor"""


def preview_folder(catalog_path: Path) -> Path:
    """The folder of a catalog's previews, `<catalog>.previews` beside it; made if missing, for its owner alone."""
    folder = catalog_path.with_name(f"{catalog_path.name}.previews")
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def key_id(key: bytes) -> str:
    """Names a key without giving it away: `/healthz` tells it, so that a server of other previews is noticed."""
    return hashlib.sha256(b"amatl key id " + key).hexdigest()[:16]


def make_preview(image_path: Path, image_sha256: str, folder: Path, side_px: int = MAX_SIDE_PX) -> Path:
    """A JPEG of at most `side_px` a side, upright, on white, at folder/ab/<sha256>.jpg; made once, whole or not at all.

    Raises PreviewFailed where the file is missing or can't be decoded, ChecksumMismatch where it is no longer the image
    of the catalog.
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


def has_preview(folder: Path, image_sha256: str) -> bool:
    """Whether it was made. An empty file is what a power cut may leave of a rename that wasn't flushed: none."""
    path = preview_path(folder, image_sha256)
    return path.is_file() and path.stat().st_size > 0


def make_previews(
    images: Sequence[tuple[Path, str]], folder: Path, threads: int | None = None, progress: Progress = silent
) -> list[AmatlError]:
    """`make_preview` of many (path, sha256), on all cores; returns what couldn't be made, in the order given."""

    def attempt(image: tuple[Path, str]) -> AmatlError | None:
        try:
            make_preview(*image, folder)
        except AmatlError as error:
            return error
        return None

    failed = []
    pool = ThreadPoolExecutor(threads or os.cpu_count())
    try:
        with pillow_for_ingest():
            for done, error in enumerate(pool.map(attempt, images), 1):
                failed += [error] if error else []
                progress("making previews", done, len(images), f"{len(failed)} failed" if failed else "")
    finally:
        pool.shutdown(cancel_futures=True)
    return failed


def signed_url(base_url: str, image_sha256: str, expires_at: datetime, key: bytes) -> str:
    """The address of a preview, good until `expires_at`: {base}/previews/<sha256>.jpg?expires=...&signature=..."""
    signature = signature_of(image_sha256, int(expires_at.timestamp()), key)
    return preview_url(base_url, image_sha256, expires_at, signature)


def preview_url(base_url: str, image_sha256: str, expires_at: datetime, signature: str) -> str:
    """The same, of a signature that was made before."""
    expires = int(expires_at.timestamp())
    return f"{base_url.rstrip('/')}/previews/{image_sha256}.jpg?expires={expires}&signature={signature}"


def app(folder: Path) -> Starlette:
    """The ASGI app of a preview folder: signed, unexpired previews, and `/healthz`: {"status": "ok", "key_id": ...}."""

    key = load_key(folder)

    async def preview(request: Request) -> Response:
        name = request.path_params["name"]
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=CORS)
        if not (match := re.fullmatch(f"({SHA256.pattern})\\.jpg", name)):
            return PlainTextResponse("No such preview.\n", 404, CORS)
        if refusal := _refusal(match[1], request, key):
            return PlainTextResponse(f"{refusal}\n", 403, CORS)
        path = preview_path(folder, match[1])
        if not path.is_file():
            return PlainTextResponse("This preview isn't here. Ask for: curator annotate push\n", 404, CORS)
        headers = CORS | {"ETag": f'"{match[1]}"', "Cache-Control": _cache_control(request)}
        if match[1] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return FileResponse(path, media_type="image/jpeg", headers=headers)

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok", "key_id": key_id(key)}, headers=CORS)

    async def refuse(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return PlainTextResponse(f"{error.detail}\n", error.status_code, CORS | dict(error.headers or {}))

    routes = [
        Route("/previews/{name}", preview, methods=["GET", "HEAD", "OPTIONS"]),
        Route("/healthz", healthz, methods=["GET"]),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: refuse})


def preview_path(folder: Path, image_sha256: str) -> Path:
    """Where the preview of an image is, or will be."""
    if not SHA256.fullmatch(image_sha256):
        raise ValueError("not a sha256")
    return folder / image_sha256[:2] / f"{image_sha256}.jpg"


def signature_of(image_sha256: str, expires: int, key: bytes) -> str:
    """What makes the address of a preview good until `expires`, seconds since 1970."""
    return hmac.new(key, f"preview {image_sha256} {expires}".encode(), hashlib.sha256).hexdigest()


def _refusal(image_sha256: str, request: Request, key: bytes) -> str | None:
    """Why a request isn't served; None where it is."""
    expires = request.query_params.get("expires", "")
    signature = request.query_params.get("signature", "")
    if not re.fullmatch(r"[0-9]{1,12}", expires) or not re.fullmatch(r"[0-9a-f]{64}", signature):
        return "This address isn't signed."
    if not hmac.compare_digest(signature, signature_of(image_sha256, int(expires), key)):
        return "The signature is wrong."
    if int(expires) < time.time():
        return "This address has expired. Ask for: curator annotate push"
    return None


def _cache_control(request: Request) -> str:
    """A preview never changes, but no cache keeps it longer than its address is good."""
    left = int(request.query_params["expires"]) - int(time.time())
    return f"private, max-age={min(left, CACHE_SECONDS)}, immutable"


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
    """RGB, transparent parts white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    white = Images.new("RGBA", layer.size, "white")
    white.alpha_composite(layer)
    return white.convert("RGB")
