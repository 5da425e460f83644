"""Errors as answers: RFC 9457 problem details with the text that the command line prints; a page for a browser.

    {"type": "urn:amatl:error:NotFound", "title": "Not found", "status": 404, "detail": "zoo: no such dataset. ..."}

`type` ends with the class of `schemas.errors` (or its family), so that a client raises the same one again.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from curator.caption_sets.revise import Overtaken
from schemas.errors import AlreadyExists, AmatlError, BadDocument, BadOption, ChecksumMismatch, NotFound

MEDIA_TYPE = "application/problem+json"
TYPE = "urn:amatl:error:"
# The first that an error is of.
STATUSES: tuple[tuple[type[AmatlError], int], ...] = (
    (Overtaken, 412),
    (NotFound, 404),
    (AlreadyExists, 409),
    (BadOption, 422),
    (BadDocument, 422),
    (ChecksumMismatch, 409),
)
HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}
PROGRAMS = ("/api/", "/catalog", "/uploads", "/disk/", "/openapi.json", "/healthz", "/readyz")
ErrorPage = Callable[["Request", dict[str, Any]], "Response"]


class Refused(AmatlError):
    """The service refuses this."""

    status = 403


class Unauthorised(Refused):
    """A token is needed: Authorization: Bearer TOKEN. Make one on the service's machine: curator token add PERSON"""

    status = 401


class TooLarge(Refused):
    """The request's body is larger than the service takes."""

    status = 413


class TooSlow(Refused):
    """The request's body came too slowly, or stopped coming."""

    status = 408


class StorageFull(Refused):
    """The service's disk is full: nothing was kept of this. Make room there, then the same command goes on."""

    status = 507


class PreconditionRequired(Refused):
    """Say what you change: If-Match with the ETag that you saw, or If-None-Match: * where there is nothing yet."""

    status = 428


class Busy(Refused):
    """The service has as many requests in hand as it takes. Try again in a moment."""

    status = 503


@contextmanager
def full_disk() -> Iterator[None]:
    """Turns what a full disk refuses into StorageFull."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull from error
        raise


def status_of(error: AmatlError) -> int:
    """The HTTP status of an error; 409 where the class says nothing: the state of things is in the way."""
    if isinstance(error, Refused):
        return error.status
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 409)


def problem(status: int, detail: str, kind: str | None = None, **more: Any) -> dict[str, Any]:
    """A problem document; `kind` is the error's class, None where HTTP's own status says it all."""
    title = HTTPStatus(status).phrase.capitalize()
    return {"type": TYPE + kind if kind else "about:blank", "title": title, "status": status, "detail": detail} | more


def answer(request: Request, document: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    """The problem as a page for whoever looks at pages, else as JSON."""
    status = document["status"]
    headers = (headers or {}) | HEADERS.get(status, {})
    if not wants_page(request):
        return JSONResponse(document, status, headers, media_type=MEDIA_TYPE)
    page: ErrorPage | None = getattr(request.app.state, "error_page", None)
    response = page(request, document) if page else HTMLResponse(_plain(document), status)
    response.headers.update(headers)
    return response


def wants_page(request: Request) -> bool:
    """Whether a person in a browser asked, for a page."""
    return not request.url.path.startswith(PROGRAMS) and "text/html" in request.headers.get("accept", "")


def install(app: FastAPI) -> None:
    """Every error becomes a problem: ours with their text, the framework's with theirs, bugs with neither."""

    def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, AmatlError)
        if isinstance(error, Unauthorised) and wants_page(request) and request.method == "GET":
            from urllib.parse import quote

            wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/login?next={quote(wanted, safe='')}", 303)
        return answer(request, problem(status_of(error), str(error), type(error).__name__))

    def of_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return answer(request, problem(error.status_code, str(error.detail)), dict(error.headers or {}))

    def of_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        found = [{"field": ".".join(str(part) for part in one["loc"]), "message": one["msg"]} for one in error.errors()]
        said = "; ".join(f"{one['field']}: {one['message']}" for one in found)
        return answer(request, problem(422, said, "BadOption", errors=found))

    def cut_off(request: Request, _: Exception) -> Response:
        return answer(request, problem(400, "The connection ended before the request did."))

    def of_us(request: Request, _: Exception) -> Response:
        said = "The service failed at this; its log says why, under the request's id."
        return answer(request, problem(500, said))

    app.add_exception_handler(AmatlError, ours)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, of_validation)
    app.add_exception_handler(ClientDisconnect, cut_off)
    app.add_exception_handler(Exception, of_us)


def _plain(document: dict[str, Any]) -> str:
    title, detail = escape(document["title"]), escape(document["detail"])
    return f'<!doctype html><html lang="en"><title>{title}</title><h1>{title}</h1><p>{detail}</p></html>'
