"""Serve static files at addresses with a content hash, cacheable for ever."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Response

from schemas.edge.palette import stylesheet
from schemas.errors import NotFound

STATIC = Path(__file__).with_name("static")
router = APIRouter(include_in_schema=False)
TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
IMMUTABLE = "public, max-age=31536000, immutable"


@cache
def assets() -> dict[str, bytes]:
    files = {file.name: file.read_bytes() for file in STATIC.iterdir()}
    return files | {"amatl.css": stylesheet(STATIC / "amatl.css").encode()}  # with the palette


@cache
def version() -> str:
    """One hash over all files, because scripts import each other by relative addresses."""
    digest = hashlib.sha256()
    for name, content in sorted(assets().items()):
        digest.update(f"{name} {len(content)} ".encode() + content)
    return digest.hexdigest()[:12]


def address(name: str) -> str:
    assert name in assets(), name
    return f"/static/{version()}/{name}"


@router.get("/static/{requested}/{name}")
def asset(requested: str, name: str) -> Response:
    """An old version's address gets the current file, without caching."""
    if name not in assets():
        raise NotFound(f"There is no static file {name[:60]!r}.")
    headers = {"Cache-Control": IMMUTABLE if requested == version() else "no-cache"}
    return Response(assets()[name], headers=headers, media_type=TYPES[name.rpartition(".")[2]])
