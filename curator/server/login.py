"""Log in with a token, log out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse

from curator.server.access import COOKIE, SESSION_SECONDS, Caller, OpenCatalog, needs, new_session
from curator.server.access_tokens import token_sha256
from curator.server.problems import Unauthorised

router = APIRouter(include_in_schema=False)


@router.post("/login")
def log_in(
    request: Request, catalog: OpenCatalog, token: Annotated[str, Form()], next: Annotated[str, Form()] = "/"
) -> RedirectResponse:
    """Set a cookie, and redirect to the wanted page."""
    digest = token_sha256(token.strip())
    if not catalog.access_of(digest):
        raise Unauthorised("This token is unknown, revoked or expired. Ask for a new one: curator token add PERSON")
    response = RedirectResponse(_within(next), 303)
    response.set_cookie(
        COOKIE,
        new_session(digest, request.app.state.key),
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=_by_https(request),
    )
    return response


@router.post("/logout")
def log_out(_: Annotated[Caller, Depends(needs("read"))]) -> RedirectResponse:
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE)
    return response


def _within(wanted: str) -> str:
    """Return `wanted` if it is our path, else "/"."""
    inside = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if inside else "/"


def _by_https(request: Request) -> bool:
    public: str | None = request.app.state.settings.public_url
    return request.url.scheme == "https" or bool(public and public.startswith("https:"))
