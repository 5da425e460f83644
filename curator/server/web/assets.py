"""The stylesheet and scripts of the pages. Their address names their content, so that a browser keeps them for good."""

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
FOR_EVER = "public, max-age=31536000, immutable"


@cache
def assets() -> dict[str, bytes]:
    found = {file.name: file.read_bytes() for file in STATIC.iterdir()}
    return found | {"amatl.css": stylesheet(STATIC / "amatl.css").encode()}  # with the palette


@cache
def version() -> str:
    """12 hexadecimal digits over all of them: scripts import each other by relative addresses."""
    digest = hashlib.sha256()
    for name, content in sorted(assets().items()):
        digest.update(f"{name} {len(content)} ".encode() + content)
    return digest.hexdigest()[:12]


def address(name: str) -> str:
    assert name in assets(), name
    return f"/static/{version()}/{name}"


@router.get("/static/{asked}/{name}")
def asset(asked: str, name: str) -> Response:
    """One of them; of an older version, as it is now and not to be kept."""
    if name not in assets():
        raise NotFound(f"There is no asset {name[:60]!r}.")
    headers = {"Cache-Control": FOR_EVER if asked == version() else "no-cache"}
    return Response(assets()[name], headers=headers, media_type=TYPES[name.rpartition(".")[2]])
