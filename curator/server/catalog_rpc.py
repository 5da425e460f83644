"""The catalog over the wire, for the `Catalog` class of another process: see `curator.catalog.wire`.

A query is called by its name, with values for its parameters and tables: never SQL. Not part of the API for programs.
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
from curator.server.access import Caller, Opened, needs
from curator.server.problems import Refused, TooLarge, full_disk
from schemas import __version__
from schemas.errors import BadDocument, NotFound

FROM_ELSEWHERE = frozenset({"token", "cookie"})
MOST_PARTS = 8
# Of a question, whose tables name things: a million SHA-256 of images.
MOST_BYTES_OF_A_READ = 96 * 2**20
router = APIRouter(include_in_schema=False)


@router.get("/catalog")
def greet(caller: Annotated[Caller, Depends(needs("read"))]) -> dict[str, str]:
    """Which program this is, which queries it knows, and who the caller is to it."""
    return {"version": __version__, "dialect": dialect(), "person": caller.person}


@router.post("/catalog/{name}")
async def call(name: str, request: Request, catalog: Opened) -> Response:
    """Runs one query, one transaction."""
    query = load_queries().get(name)
    if query is None:
        raise NotFound(f"{name}: no such query. Update the older of the two programs.")
    caller = await needs(query.scope)(request)
    if query.noun == "access" and caller.how not in {"socket", "local"}:
        raise Refused("Tokens are made and revoked on the service's own machine.")
    if query.scope == "read" and caller.how in FROM_ELSEWHERE:
        _check_length(request)
    # Large tables lie on the disk meanwhile.
    with full_disk():
        async with request.form(max_files=MOST_PARTS, max_fields=0) as form:
            return await _answered(catalog, query, form, caller)


async def _answered(catalog: Catalog, query: Query, form: FormData, caller: Caller) -> Response:
    parts = {key: part for key, part in form.multi_items() if isinstance(part, UploadFile)}
    if PARAMETERS not in parts:
        raise BadDocument(f"{PARAMETERS}: missing from the form.")
    return await run_in_threadpool(_perform, catalog, query, parts, caller)


def _check_length(request: Request) -> None:
    length = request.headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()) or int(length) > MOST_BYTES_OF_A_READ:
        raise TooLarge


def _perform(catalog: Catalog, query: Query, parts: Mapping[str, UploadFile], caller: Caller) -> Response:
    parameters = _signed_by(caller, decode_parameters(parts[PARAMETERS].file.read()))
    frames = {name: decode_frame(name, part.file) for name, part in parts.items() if name != PARAMETERS}
    if caller.how in FROM_ELSEWHERE:
        foreign_paths.check(query.name, parameters, frames, uploads_folder(catalog.path))
    rows = perform(catalog, query, parameters, frames)
    if rows is None:
        return Response(status_code=204)
    return StreamingResponse(encode_rows(rows, compressed=caller.how != "socket"), media_type=ARROW)


def _signed_by(caller: Caller, parameters: dict[str, Any]) -> dict[str, Any]:
    """Who did it is who has the token, whatever the other machine says; nobody restored what wasn't restored."""
    if caller.how not in FROM_ELSEWHERE:
        return parameters
    nobody = {"restored_by"} if parameters.get("restored_from") is None else set()
    return {name: caller.person if name in PEOPLE - nobody else value for name, value in parameters.items()}
