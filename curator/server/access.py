"""Authenticate callers and check their scopes.

A program sends a token (`Authorization: Bearer ...`); a person logs in with it and gets a cookie. On loopback, or
through the Unix socket, a caller is the local user with every scope. Against other sites in a browser, a change needs
the CSRF token of its page and this origin; on loopback the request must name this host (DNS rebinding).

A cookie holds the token's hash, an expiry and a signature. Revoking a token ends its sessions.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlsplit

from fastapi import Depends, Path, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPBearer

from curator.catalog import Catalog
from curator.person import user_name
from curator.server.access_tokens import SCOPES, Scope, token_sha256
from curator.server.problems import Refused, Unauthorised
from curator.server.signing import refusal, signature

COOKIE = "amatl_session"
SESSION_SECONDS = 30 * 24 * 3600
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
# For the OpenAPI document; `needs` reads the header itself.
BEARER = HTTPBearer(auto_error=False, description="A token from `curator token add`; not needed on loopback.")


@dataclass(frozen=True)
class Caller:
    """The person behind a request. `how`: what identified them."""

    person: str
    scopes: frozenset[Scope]
    how: Literal["socket", "local", "token", "cookie"] = "local"
    session: str = "local"


def scopes_up_to(scope: Scope) -> frozenset[Scope]:
    """Return a scope and those it includes: write includes annotate, annotate read."""
    return frozenset(SCOPES[: SCOPES.index(scope) + 1])


def needs(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """Return a dependency that sets `request.state.caller` and `.csrf_token`.

    Raises Unauthorised for an unknown caller, Refused for a missing scope.
    """

    async def caller_with_scope(request: Request, _: Annotated[object, Depends(BEARER)] = None) -> Caller:
        caller = await _identified(request)
        if caller is None:
            raise Unauthorised
        request.state.caller = caller
        request.state.csrf_token = csrf_token(request, caller)
        if scope not in caller.scopes:
            has = max(caller.scopes, key=SCOPES.index)
            raise Refused(f"This needs the scope {scope}; {caller.person}'s token has {has}. Ask for a new token.")
        if request.method not in SAFE and _browser(request, caller):
            await _check_csrf(request)
        return caller

    return caller_with_scope


async def image_access(request: Request) -> None:
    """Require a signed address or a caller. Raise Unauthorised, Refused."""
    given = request.query_params
    if "signature" in given:
        problem = refusal(request.url.path, given.get("expires", ""), given["signature"], request.app.state.key)
        if problem:
            raise Refused(problem)
        return
    if await _identified(request) is None:
        raise Unauthorised


async def _identified(request: Request) -> Caller | None:
    """Use a thread only if the catalog is queried: a switch costs more than most requests."""
    if "authorization" in request.headers or COOKIE in request.cookies:
        return await run_in_threadpool(identify, request)
    return identify(request)


def identify(request: Request) -> Caller | None:
    """Return the caller; None without valid credentials."""
    settings, catalog = request.app.state.settings, request.app.state.catalog
    if is_from_socket(request):
        return Caller(user_name(), scopes_up_to("write"), "socket")
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if token:
        access = catalog.access_of(token_sha256(token.strip())) if scheme.lower() == "bearer" else None
        return Caller(access["person"], scopes_up_to(access["scope"]), "token") if access else None
    if session := request.cookies.get(COOKIE):
        digest = session_token(session, request.app.state.key)
        access = catalog.access_of(digest) if digest else None
        if access:
            return Caller(access["person"], scopes_up_to(access["scope"]), "cookie", session)
    return None if settings.require_token else Caller(user_name(), scopes_up_to("write"))


def is_from_socket(request: Request) -> bool:
    """Trust the server's own address, nothing in the request."""
    name, port = request.scope.get("server") or ("", 0)
    return port is None and name == str(request.app.state.settings.socket_path)


def new_session(digest: str, key: bytes) -> str:
    """Return the cookie value."""
    expires = int(time.time()) + SESSION_SECONDS
    return f"{digest}.{expires}.{signature(key, 'session', digest, expires)}"


def session_token(session: str, key: bytes) -> str | None:
    """Return the token's hash; None if the cookie is invalid or expired."""
    digest, _, expires_and_signature = session.partition(".")
    expires, _, given = expires_and_signature.partition(".")
    if not (expires.isascii() and expires.isdigit() and given.isascii()) or int(expires[:12]) < time.time():
        return None
    return digest if hmac.compare_digest(given, signature(key, "session", digest, expires)) else None


def csrf_token(request: Request, caller: Caller) -> str:
    """Return what a page of this session must send with a change."""
    return signature(request.app.state.key, "csrf", caller.session)


def host_refusal(host: str, settings_host: str, public_url: str | None) -> str | None:
    """Return why a host is refused on loopback; None if allowed."""
    name = urlsplit(f"//{host}").hostname or ""
    ours = LOOPBACK | {settings_host} | ({urlsplit(public_url).hostname or ""} if public_url else set())
    return None if name in ours else f"This service answers only as {settings_host}, not as {name or 'no name'}."


def origin_refusal(method: str, headers: dict[str, str], public_url: str | None) -> str | None:
    """Return why a change from a page's origin is refused; None if allowed."""
    if method in SAFE:
        return None
    origin = headers.get("origin")
    if origin is None:
        return "The request comes from another site." if headers.get("sec-fetch-site") == "cross-site" else None
    ours = {headers.get("host", "")} | ({urlsplit(public_url).netloc} if public_url else set())
    return None if urlsplit(origin).netloc in ours - {""} else f"The request comes from another site, {origin}."


def _browser(request: Request, caller: Caller) -> bool:
    """Return whether a browser may have sent it: browsers add cookies for any page."""
    if caller.how in {"socket", "token"}:
        return False
    return caller.how == "cookie" or "origin" in request.headers or "sec-fetch-site" in request.headers


async def _check_csrf(request: Request) -> None:
    given = request.headers.get("x-csrf-token")
    if given is None and request.headers.get("content-type", "").startswith(FORMS):
        given = (await request.form()).get("csrf_token")  # type: ignore[assignment]
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), request.state.csrf_token.encode()):
        raise Refused("This page is out of date. Load it again, then repeat the action.")


async def _opened(request: Request) -> Catalog:
    catalog: Catalog = request.app.state.catalog
    return catalog


OpenCatalog = Annotated[Catalog, Depends(_opened)]
Annotator = Annotated[Caller, Depends(needs("annotate"))]
Writer = Annotated[Caller, Depends(needs("write"))]
Sha256 = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="SHA-256 of the file, in hex.")]
