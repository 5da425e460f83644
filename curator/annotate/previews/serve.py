"""Serve previews to annotators' browsers, by signed URLs that expire.

The server knows only the folder of previews, never the catalog, which one process at a time can open. No part of a
request becomes a path unchecked, and no response names a path. Label Studio's page loads images by XHR without cookies,
so every response has CORS headers, errors too: without them the page couldn't show what is wrong.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from curator.annotate.previews.make import SHA256, preview_path
from curator.secret_files import load_key

if TYPE_CHECKING:
    from starlette.requests import Request

CACHE_SECONDS = 7 * 24 * 3600
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Allow-Private-Network": "true",
    "Access-Control-Max-Age": "86400",
    "X-Content-Type-Options": "nosniff",
}


def key_id(key: bytes) -> str:
    """Return an identifier of a key that doesn't reveal it. `/healthz` sends it, so that status can compare servers."""
    return hashlib.sha256(b"amatl key id " + key).hexdigest()[:16]


def preview_url(base_url: str, image_sha256: str, expires_at: datetime, signature: str) -> str:
    """Return the URL of a preview: {base}/previews/<sha256>.jpg?expires=...&signature=..."""
    expires = int(expires_at.timestamp())
    return f"{base_url.rstrip('/')}/previews/{image_sha256}.jpg?expires={expires}&signature={signature}"


def signature_of(image_sha256: str, expires: int, key: bytes) -> str:
    """Return the signature that makes the URL of a preview valid until `expires` (seconds since 1970)."""
    return hmac.new(key, f"preview {image_sha256} {expires}".encode(), hashlib.sha256).hexdigest()


def app(folder: Path) -> Starlette:
    """Return the ASGI app of a folder: signed previews, and `/healthz` with {"status": "ok", "key_id": ...}."""
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


def _refusal(image_sha256: str, request: Request, key: bytes) -> str | None:
    """Return why a request is refused, or None if it is served."""
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
    """Return the Cache-Control header: a preview never changes, but no cache keeps it longer than its URL is valid."""
    left = int(request.query_params["expires"]) - int(time.time())
    return f"private, max-age={min(left, CACHE_SECONDS)}, immutable"
