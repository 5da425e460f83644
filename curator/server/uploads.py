"""Pictures sent by an ingest on another machine: kept by content in the service's data folder, whole or not at all.

Only a SHA-256 comes from a request, and what is kept under it has that checksum and begins as a picture does. What a
connection left half-sent is removed, what a killed service left at the next start.
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
from curator.server.access import Opened, Sha256, needs
from curator.server.problems import Refused, StorageFull, full_disk
from schemas.errors import ChecksumMismatch

MOST_ASKED = 10_000
# Left free for the catalog itself, which must go on.
RESERVE_BYTES = 256 * 2**20
WRITTEN_AT_ONCE_BYTES = 2**20
INCOMING = re.compile(r"\.[0-9a-f]{64}\.[0-9a-f]{16}")


class NotAPicture(Refused):
    """What was sent doesn't begin as a picture does."""

    status = 415


class Asked(BaseModel):
    """Which pictures a caller has."""

    images: list[Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = Field(max_length=MOST_ASKED)


@asynccontextmanager
async def _swept(app: FastAPI) -> AsyncIterator[None]:
    """This service is the only one in its folder: what is half-sent there, nobody is sending."""
    for left in uploads_folder(app.state.settings.catalog_path).glob("??/.*"):
        if INCOMING.fullmatch(left.name):
            left.unlink(missing_ok=True)
    yield


router = APIRouter(include_in_schema=False, dependencies=[Depends(needs("write"))], lifespan=_swept)


@router.get("/uploads")
def limits(request: Request) -> dict[str, int]:
    """How large a file may be."""
    return {"max_bytes": request.app.state.settings.max_upload_bytes}


@router.post("/uploads/lacking")
def lacking(catalog: Opened, asked: Asked) -> dict[str, list[str]]:
    """Those whose bytes aren't here."""
    folder = uploads_folder(catalog.path)
    return {"lacking": [sha256 for sha256 in asked.images if not _is_here(uploaded(folder, sha256))]}


@router.put("/uploads/{sha256}", status_code=204)
async def upload(request: Request, catalog: Opened, sha256: Sha256) -> Response:
    """Takes a picture's bytes. Raises ChecksumMismatch, NotAPicture, StorageFull, TooLarge."""
    target = uploaded(uploads_folder(catalog.path), sha256)
    with full_disk():
        await run_in_threadpool(target.parent.mkdir, mode=0o700, parents=True, exist_ok=True)
        if not await run_in_threadpool(_is_here, target):
            _check_space(target.parent, request.headers.get("content-length", "0"))
            await _taken(request, sha256, target)
    return Response(status_code=204)


async def _taken(request: Request, sha256: str, target: File) -> None:
    temporary = target.with_name(f".{sha256}.{secrets.token_hex(8)}")
    digest, head = hashlib.sha256(), b""
    try:
        with temporary.open("xb", buffering=0) as file:
            async for chunk in _chunks(request):
                head = head or _checked(chunk[:HEAD_BYTES])
                await run_in_threadpool(_write, file, digest, chunk)
            if digest.hexdigest() != sha256:
                raise ChecksumMismatch(f"{sha256[:12]}: other bytes came than that name says. Send the file again.")
            await run_in_threadpool(os.fsync, file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """The body, in pieces that are worth a thread; an empty one of an empty body."""
    waiting = b""
    async for part in request.stream():
        waiting += part
        if len(waiting) >= WRITTEN_AT_ONCE_BYTES:
            yield waiting
            waiting = b""
    yield waiting


def _is_here(target: File) -> bool:
    """Touches what is: its name will be in the catalog only later, and until then nothing may prune it as old."""
    if not target.is_file():
        return False
    try:
        os.utime(target)
    except FileNotFoundError:  # pruned just now
        return False
    return True


def _checked(head: bytes) -> bytes:
    try:
        sniff(head)
    except Unusable as error:
        raise NotAPicture(f"That isn't a picture: {error.detail}.") from error
    return head


def _write(file: IO[bytes], digest: hashlib._Hash, chunk: bytes) -> None:
    digest.update(chunk)
    rest = memoryview(chunk)
    while rest:  # a write may take less than it is given
        rest = rest[file.write(rest) :]


def _check_space(folder: File, length: str) -> None:
    coming = int(length) if length.isascii() and length.isdigit() else 0
    if shutil.disk_usage(folder).free - coming < RESERVE_BYTES:
        raise StorageFull
