"""Serve originals and thumbnails by SHA-256, cacheable for ever.

Thumbnails are made at the first request and stored. A file is sent only if it still has the requested SHA-256.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path as File
from threading import BoundedSemaphore

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import FileResponse

from curator.annotate.previews.make import PreviewFailed, has_preview, make_preview, preview_path
from curator.catalog import Catalog
from curator.catalog.working_copy import file_id_of_image
from curator.images.decode import pillow_for_ingest
from curator.images.formats import sniff
from curator.images.originals import Originals
from curator.server.access import OpenCatalog, Sha256, image_access
from curator.server.api.responses import immutable_headers, is_cached
from schemas.errors import AmatlError, ChecksumMismatch, NotFound

THUMBNAIL_PX = 384
CHANGED = "changed since the ingest, or can't be read. Ingest its folder again."
# A gallery page requests many thumbnails at once; decoding more than one per core makes none faster.
_decoding = BoundedSemaphore(os.cpu_count() or 1)


@asynccontextmanager
async def _pillow(_: FastAPI) -> AsyncIterator[None]:
    with pillow_for_ingest():
        yield


router = APIRouter(include_in_schema=False, dependencies=[Depends(image_access)], lifespan=_pillow)


@router.get("/thumbnails/{sha256}.jpg")
def thumbnail(request: Request, catalog: OpenCatalog, sha256: Sha256) -> Response:
    """Return a JPEG on white, at most 384 px."""
    headers = immutable_headers(sha256)
    if is_cached(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    folder = File(request.app.state.settings.data) / "thumbnails"
    if not has_preview(folder, sha256):
        folder.mkdir(mode=0o700, exist_ok=True)
        with _decoding:
            _make_thumbnail(catalog, sha256, folder)
    return FileResponse(preview_path(folder, sha256), media_type="image/jpeg", headers=headers)


@router.get("/images/{sha256}")
def original(request: Request, catalog: OpenCatalog, sha256: Sha256) -> Response:
    """Return the unchanged file. Raise ChecksumMismatch if no path holds it."""
    headers = immutable_headers(sha256)
    if is_cached(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    name = sha256[:12]
    for file in _files(catalog, sha256):
        name = file.name
        try:
            content = file.read_bytes()
        except OSError:  # removed meanwhile, or not readable
            continue
        if hashlib.sha256(content).hexdigest() == sha256:
            # The type comes from the first bytes, never from the name, so it is never one that a browser executes.
            return Response(content, headers=headers, media_type=f"image/{sniff(content[:64])}")
    raise ChecksumMismatch(f"{name}: {CHANGED}")


def _make_thumbnail(catalog: Catalog, sha256: str, folder: File) -> None:
    """Raise ChecksumMismatch or PreviewFailed if no file is usable."""
    failed: AmatlError | None = None
    for file in _files(catalog, sha256):
        try:
            make_preview(file, sha256, folder, THUMBNAIL_PX)
            return
        except ChecksumMismatch:  # another path may still hold the image
            failed = ChecksumMismatch(f"{file.name}: {CHANGED}")
        except PreviewFailed as error:
            failed = error
    assert failed is not None
    raise failed


def _files(catalog: Catalog, sha256: str) -> Iterator[File]:
    """Yield existing files, the working copy's first. Raise NotFound."""
    originals = Originals(catalog)
    file_id = file_id_of_image(catalog, sha256)
    cached = [] if file_id is None else originals.paths(sha256, [catalog.file_row(file_id)["path"]])
    tried = [path for path in cached if File(path).is_file()]
    yield from map(File, tried)
    rows = catalog.find_images(sha256)
    rows = rows.filter(rows["image_sha256"] == sha256)
    if not rows.height:
        raise NotFound(f"There is no image {sha256[:12]}.")
    paths = originals.paths(sha256, rows["path"].to_list())
    others = [path for path in paths if path not in tried and File(path).is_file()]
    yield from map(File, others)
    if not (tried or others):
        raise NotFound(f"{rows['file_name'][0]}: its file is gone. Run: curator doctor")
