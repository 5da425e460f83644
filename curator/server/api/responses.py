"""Shared parts of responses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from io import BytesIO
from typing import Annotated, Any

import polars as pl
from fastapi import Depends, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from curator.catalog.wire import ARROW, encode_rows
from curator.server.problems import MEDIA_TYPE

JSON_LINES = "application/x-ndjson"
ROWS_PER_CHUNK = 16_384
LARGEST_ID = 2**62


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(examples=["urn:amatl:error:NotFound"])
    title: str = Field(examples=["Not found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["There is no dataset 'zoo'. There are: openmoji."])


PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "description": "The error, and what to do next.",
        "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
    }
}
STREAMS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "JSON; with Accept: application/x-ndjson or Arrow's media type, a stream of all rows.",
        "content": {ARROW: {}, JSON_LINES: {}},
    }
}


async def body(request: Request) -> bytes:
    return await request.body()


Content = Annotated[bytes, Depends(body)]


def request_body(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Describe a raw body for OpenAPI."""
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


def example(value: Any) -> dict[int | str, dict[str, Any]]:
    """Return a route's `responses` with an example."""
    return {200: {"content": {"application/json": {"example": value}}}}


def etag_response(request: Request, result: BaseModel, tag: str | None = None) -> Response:
    """Return JSON with an ETag (default: a hash of the content); 304 if the client has it."""
    content = result.model_dump_json().encode()
    etag = f'"{tag or hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if is_cached(request, etag):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type="application/json")


def immutable_headers(etag: str) -> dict[str, str]:
    """Return caching headers."""
    return {"ETag": f'"{etag}"', "Cache-Control": "private, max-age=31536000, immutable"}


def is_cached(request: Request, etag: str) -> bool:
    """Check If-None-Match (RFC 9110, weak comparison)."""
    tags = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    return etag in tags or tags == ["*"]


def accepted_type(request: Request, default: str) -> str:
    """Return Arrow or JSON lines if `Accept` prefers it, else `default`."""
    accepted = [one.partition(";")[0].strip().lower() for one in request.headers.get("accept", "").split(",")]
    known = {ARROW: ARROW, JSON_LINES: JSON_LINES, "application/jsonl": JSON_LINES, "application/json": default}
    return next((known[one] for one in accepted if one in known), default)


def stream(frame: pl.DataFrame, media_type: str, name: str) -> StreamingResponse:
    """Stream the rows as a file called `name`."""
    arrow = media_type == ARROW
    rows = encode_rows(frame.to_arrow(), compressed=True) if arrow else _lines(frame)
    headers = {
        "Content-Disposition": f'attachment; filename="{name}.{"arrows" if arrow else "jsonl"}"',
        "Cache-Control": "private, no-cache",
    }
    return StreamingResponse(rows, headers=headers, media_type=media_type)


def _lines(frame: pl.DataFrame) -> Iterator[bytes]:
    for chunk in frame.iter_slices(ROWS_PER_CHUNK):
        buffer = BytesIO()
        chunk.write_ndjson(buffer)
        yield buffer.getvalue()
