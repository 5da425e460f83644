"""Pictures: originals and thumbnails, named by content, so that a browser keeps them for good.

A thumbnail is made at the first look at it and kept in the service's data folder. Only a SHA-256 comes from a request;
where its file lies is the catalog's word, and what lies there is sent only while it is still that image.
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
from curator.server.access import Opened, Sha256, allowed_picture
from curator.server.api.answers import for_ever, has_it
from schemas.errors import AmatlError, ChecksumMismatch, NotFound

THUMBNAIL_PX = 384
CHANGED = "changed since the ingest, or can't be read. Ingest its folder again."
# A full gallery page asks for many at once; decoding more of them than there are cores makes none of them faster.
_decoding = BoundedSemaphore(os.cpu_count() or 1)


@asynccontextmanager
async def _pillow(_: FastAPI) -> AsyncIterator[None]:
    with pillow_for_ingest():
        yield


router = APIRouter(include_in_schema=False, dependencies=[Depends(allowed_picture)], lifespan=_pillow)


@router.get("/thumbnails/{sha256}.jpg")
def thumbnail(request: Request, catalog: Opened, sha256: Sha256) -> Response:
    """A JPEG on white, its longer side 384 px at most."""
    headers = for_ever(sha256)
    if has_it(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    folder = File(request.app.state.settings.data) / "thumbnails"
    if not has_preview(folder, sha256):
        folder.mkdir(mode=0o700, exist_ok=True)
        with _decoding:
            _make_thumbnail(catalog, sha256, folder)
    return FileResponse(preview_path(folder, sha256), media_type="image/jpeg", headers=headers)


@router.get("/images/{sha256}")
def original(request: Request, catalog: Opened, sha256: Sha256) -> Response:
    """The image's file, byte for byte, by a path that still holds it. Raises ChecksumMismatch where none does."""
    headers = for_ever(sha256)
    if has_it(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    name = sha256[:12]
    for file in _files(catalog, sha256):
        name = file.name
        try:
            content = file.read_bytes()
        except OSError:  # taken away meanwhile, or not ours to read
            continue
        if hashlib.sha256(content).hexdigest() == sha256:
            # By its first bytes, never by its name: what a browser runs or renders otherwise isn't among them.
            return Response(content, headers=headers, media_type=f"image/{sniff(content[:64])}")
    raise ChecksumMismatch(f"{name}: {CHANGED}")


def _make_thumbnail(catalog: Catalog, sha256: str, folder: File) -> None:
    """Of the first file that still is the image. Raises ChecksumMismatch, PreviewFailed where none will do."""
    failed: AmatlError | None = None
    for file in _files(catalog, sha256):
        try:
            make_preview(file, sha256, folder, THUMBNAIL_PX)
            return
        except ChecksumMismatch:  # it may lie elsewhere too, in this dataset or another
            failed = ChecksumMismatch(f"{file.name}: {CHANGED}")
        except PreviewFailed as error:
            failed = error
    assert failed is not None
    raise failed


def _files(catalog: Catalog, sha256: str) -> Iterator[File]:
    """The image's files that are there, first the one that working copies know. Raises NotFound where none is."""
    here = Originals(catalog)
    file_id = file_id_of_image(catalog, sha256)
    known = [] if file_id is None else here.paths(sha256, [catalog.file_row(file_id)["path"]])
    tried = [path for path in known if File(path).is_file()]
    yield from map(File, tried)
    found = catalog.find_images(sha256)
    found = found.filter(found["image_sha256"] == sha256)
    if not found.height:
        raise NotFound(f"There is no image {sha256[:12]}.")
    more = [path for path in here.paths(sha256, found["path"].to_list()) if path not in tried and File(path).is_file()]
    yield from map(File, more)
    if not (tried or more):
        raise NotFound(f"{found['file_name'][0]}: its file isn't there any more. Run: curator doctor")
