"""Errors as HTTP responses: RFC 9457 problem documents with the command line's text, or a page for a browser.

    {"type": "urn:amatl:error:NotFound", "title": "Not found", "status": 404, "detail": "zoo: no such dataset. ..."}

`type` ends with the error's class (or its family in `schemas.errors`), so that a client can raise the same error.
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
# The first class that matches decides.
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
    """The service refuses this request."""

    status = 403


class Unauthorised(Refused):
    """A token is needed: Authorization: Bearer TOKEN. Make one on the service's machine: curator token add PERSON"""

    status = 401


class TooLarge(Refused):
    """The request body is larger than this service accepts."""

    status = 413


class TooSlow(Refused):
    """The request body arrived too slowly, or stopped."""

    status = 408


class StorageFull(Refused):
    """The service's disk is full. Free some space there, then run the same command again."""

    status = 507


class PreconditionRequired(Refused):
    """Send If-Match with the ETag of the caption you saw, or If-None-Match: * if there was none."""

    status = 428


class Busy(Refused):
    """The service is handling too many requests. Try again in a moment."""

    status = 503


@contextmanager
def full_disk() -> Iterator[None]:
    """Raise StorageFull if the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull from error
        raise


def status_of(error: AmatlError) -> int:
    """Return the HTTP status; 409 if the class has none."""
    if isinstance(error, Refused):
        return error.status
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 409)


def problem(status: int, detail: str, kind: str | None = None, **more: Any) -> dict[str, Any]:
    """`kind`: the error's class name; None if the status says enough."""
    title = HTTPStatus(status).phrase.capitalize()
    return {"type": TYPE + kind if kind else "about:blank", "title": title, "status": status, "detail": detail} | more


def problem_response(request: Request, document: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    """Return a page for browsers, else JSON."""
    status = document["status"]
    headers = (headers or {}) | HEADERS.get(status, {})
    if not wants_page(request):
        return JSONResponse(document, status, headers, media_type=MEDIA_TYPE)
    page: ErrorPage | None = getattr(request.app.state, "error_page", None)
    response = page(request, document) if page else HTMLResponse(_plain(document), status)
    response.headers.update(headers)
    return response


def wants_page(request: Request) -> bool:
    """Return whether a browser requested a page."""
    return not request.url.path.startswith(PROGRAMS) and "text/html" in request.headers.get("accept", "")


def install(app: FastAPI) -> None:
    """Turn every error into a problem; unexpected ones without their text."""

    def amatl_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, AmatlError)
        if isinstance(error, Unauthorised) and wants_page(request) and request.method == "GET":
            from urllib.parse import quote

            wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/login?next={quote(wanted, safe='')}", 303)
        return problem_response(request, problem(status_of(error), str(error), type(error).__name__))

    def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return problem_response(request, problem(error.status_code, str(error.detail)), dict(error.headers or {}))

    def validation_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        errors = [{"field": ".".join(map(str, one["loc"])), "message": one["msg"]} for one in error.errors()]
        detail = "; ".join(f"{one['field']}: {one['message']}" for one in errors)
        return problem_response(request, problem(422, detail, "BadOption", errors=errors))

    def disconnect(request: Request, _: Exception) -> Response:
        return problem_response(request, problem(400, "The connection ended before the request was complete."))

    def unexpected_error(request: Request, _: Exception) -> Response:
        detail = "The service failed unexpectedly. Its log has the cause, under the request's id."
        return problem_response(request, problem(500, detail))

    app.add_exception_handler(AmatlError, amatl_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    app.add_exception_handler(ClientDisconnect, disconnect)
    app.add_exception_handler(Exception, unexpected_error)


def _plain(document: dict[str, Any]) -> str:
    title, detail = escape(document["title"]), escape(document["detail"])
    return f'<!doctype html><html lang="en"><title>{title}</title><h1>{title}</h1><p>{detail}</p></html>'
