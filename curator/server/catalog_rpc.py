"""Catalog queries over HTTP for another process (`curator.catalog.wire`); not part of the public API.

A query is called by name, never as SQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.datastructures import FormData, UploadFile

from curator.catalog import Catalog
from curator.catalog.perform import perform
from curator.catalog.queries import Query, load_queries
from curator.catalog.wire import ARROW, PARAMETERS, PEOPLE, decode_frame, decode_parameters, dialect, encode_rows
from curator.images.locations import uploads_folder
from curator.server import foreign_paths
from curator.server.access import Caller, OpenCatalog, needs
from curator.server.problems import Refused, TooLarge, full_disk
from schemas import __version__
from schemas.errors import BadDocument, NotFound

FROM_ELSEWHERE = frozenset({"token", "cookie"})
MAX_PARTS = 8
# Of a read request; enough for a table with a million SHA-256 of images.
MAX_READ_BYTES = 96 * 2**20
router = APIRouter(include_in_schema=False)


@router.get("/catalog")
def greet(caller: Annotated[Caller, Depends(needs("read"))]) -> dict[str, str]:
    """Return the version, the queries' dialect, and the caller's name."""
    return {"version": __version__, "dialect": dialect(), "person": caller.person}


@router.post("/catalog/{name}")
async def call(name: str, request: Request, catalog: OpenCatalog) -> Response:
    """Run one query in one transaction."""
    query = load_queries().get(name)
    if query is None:
        raise NotFound(f"{name}: unknown query. Update the older of the two programs.")
    caller = await needs(query.scope)(request)
    if query.noun == "access" and caller.how not in {"socket", "local"}:
        raise Refused("Tokens can only be made and revoked on the service's own machine.")
    if query.scope == "read" and caller.how in FROM_ELSEWHERE:
        _check_length(request)
    with full_disk():  # the form parser writes large tables to the disk
        async with request.form(max_files=MAX_PARTS, max_fields=0) as form:
            return await _run_query(catalog, query, form, caller)


async def _run_query(catalog: Catalog, query: Query, form: FormData, caller: Caller) -> Response:
    parts = {key: part for key, part in form.multi_items() if isinstance(part, UploadFile)}
    if PARAMETERS not in parts:
        raise BadDocument(f"{PARAMETERS}: missing in the form.")
    return await run_in_threadpool(_perform, catalog, query, parts, caller)


def _check_length(request: Request) -> None:
    length = request.headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()) or int(length) > MAX_READ_BYTES:
        raise TooLarge


def _perform(catalog: Catalog, query: Query, parts: Mapping[str, UploadFile], caller: Caller) -> Response:
    parameters = _with_person(caller, decode_parameters(parts[PARAMETERS].file.read()))
    frames = {name: decode_frame(name, part.file) for name, part in parts.items() if name != PARAMETERS}
    if caller.how in FROM_ELSEWHERE:
        foreign_paths.check(query.name, parameters, frames, uploads_folder(catalog.path))
    rows = perform(catalog, query, parameters, frames)
    if rows is None:
        return Response(status_code=204)
    return StreamingResponse(encode_rows(rows, compressed=caller.how != "socket"), media_type=ARROW)


def _with_person(caller: Caller, parameters: dict[str, Any]) -> dict[str, Any]:
    """Record a remote change under the token's owner, whatever the client says."""
    if caller.how not in FROM_ELSEWHERE:
        return parameters
    people = PEOPLE if parameters.get("restored_from") is not None else PEOPLE - {"restored_by"}
    return {name: caller.person if name in people else value for name, value in parameters.items()}
