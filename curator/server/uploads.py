"""Store images from a remote ingest by SHA-256, complete or not at all.

A file has the requested SHA-256 and starts like an image. Partial files are deleted, at the latest on the next start.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path as File
from typing import IO, Annotated

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from curator.images.formats import HEAD_BYTES, sniff
from curator.images.locations import uploaded, uploads_folder
from curator.images.unusable import Unusable
from curator.server.access import OpenCatalog, Sha256, needs
from curator.server.problems import Refused, StorageFull, full_disk
from schemas.errors import ChecksumMismatch

MAX_IMAGES = 10_000
# Kept free for the catalog.
RESERVE_BYTES = 256 * 2**20
WRITE_BYTES = 2**20
PARTIAL = re.compile(r"\.[0-9a-f]{64}\.[0-9a-f]{16}")


class NotAPicture(Refused):
    """The uploaded file does not start like an image."""

    status = 415


class ImagesRequest(BaseModel):
    images: list[Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = Field(max_length=MAX_IMAGES)


@asynccontextmanager
async def _remove_partial_files(app: FastAPI) -> AsyncIterator[None]:
    """Safe at the start: no other service uses this folder."""
    for file in uploads_folder(app.state.settings.catalog_path).glob("??/.*"):
        if PARTIAL.fullmatch(file.name):
            file.unlink(missing_ok=True)
    yield


router = APIRouter(include_in_schema=False, dependencies=[Depends(needs("write"))], lifespan=_remove_partial_files)


@router.get("/uploads")
def limits(request: Request) -> dict[str, int]:
    return {"max_bytes": request.app.state.settings.max_upload_bytes}


@router.post("/uploads/lacking")
def lacking(catalog: OpenCatalog, request: ImagesRequest) -> dict[str, list[str]]:
    """Return the images that are not stored yet."""
    folder = uploads_folder(catalog.path)
    return {"lacking": [sha256 for sha256 in request.images if not _is_stored(uploaded(folder, sha256))]}


@router.put("/uploads/{sha256}", status_code=204)
async def upload(request: Request, catalog: OpenCatalog, sha256: Sha256) -> Response:
    """Raise ChecksumMismatch, NotAPicture, StorageFull, TooLarge."""
    target = uploaded(uploads_folder(catalog.path), sha256)
    with full_disk():
        await run_in_threadpool(target.parent.mkdir, mode=0o700, parents=True, exist_ok=True)
        if not await run_in_threadpool(_is_stored, target):
            _check_space(target.parent, request.headers.get("content-length", "0"))
            await _receive(request, sha256, target)
    return Response(status_code=204)


async def _receive(request: Request, sha256: str, target: File) -> None:
    temporary = target.with_name(f".{sha256}.{secrets.token_hex(8)}")
    digest, head = hashlib.sha256(), b""
    try:
        with temporary.open("xb", buffering=0) as file:
            async for chunk in _chunks(request):
                head = head or _check_head(chunk[:HEAD_BYTES])
                await run_in_threadpool(_write, file, digest, chunk)
            if digest.hexdigest() != sha256:
                raise ChecksumMismatch(f"{sha256[:12]}: the received bytes have another SHA-256. Send the file again.")
            await run_in_threadpool(os.fsync, file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """Yield chunks large enough for a thread call; one empty chunk for an empty body."""
    buffer = b""
    async for part in request.stream():
        buffer += part
        if len(buffer) >= WRITE_BYTES:
            yield buffer
            buffer = b""
    yield buffer


def _is_stored(target: File) -> bool:
    """Also touch the file, so that prune keeps it until the ingest names it."""
    if not target.is_file():
        return False
    try:
        os.utime(target)
    except FileNotFoundError:  # pruned just now
        return False
    return True


def _check_head(head: bytes) -> bytes:
    try:
        sniff(head)
    except Unusable as error:
        raise NotAPicture(f"This file is not an image: {error.detail}.") from error
    return head


def _write(file: IO[bytes], digest: hashlib._Hash, chunk: bytes) -> None:
    digest.update(chunk)
    unwritten = memoryview(chunk)
    while unwritten:  # an unbuffered write may be partial
        unwritten = unwritten[file.write(unwritten) :]


def _check_space(folder: File, length: str) -> None:
    expected_bytes = int(length) if length.isascii() and length.isdigit() else 0
    if shutil.disk_usage(folder).free - expected_bytes < RESERVE_BYTES:
        raise StorageFull
