"""Who asks, and what they may.

A program shows a token (`Authorization: Bearer ...`); a person logs in with it once and has a cookie. On loopback
nobody needs one: whoever has a login on this machine is its local user, with every scope, and so is whoever can open
the Unix socket. What a page from elsewhere could make a browser do is refused: a change needs the CSRF token of
its page, comes from this origin, and on loopback names this host (DNS rebinding).

A cookie is the token's hash, an expiry and a signature by the service's key; a token revoked ends its sessions with it.
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
BEARER = HTTPBearer(auto_error=False, description="A token of `curator token add`; not needed on loopback.")


@dataclass(frozen=True)
class Caller:
    """Who asks. `how`: by the Unix socket, as the local user on loopback, by a token, by a cookie."""

    person: str
    scopes: frozenset[Scope]
    how: Literal["socket", "local", "token", "cookie"] = "local"
    session: str = "local"


def up_to(scope: Scope) -> frozenset[Scope]:
    """A scope and those it holds: write holds annotate, annotate holds read."""
    return frozenset(SCOPES[: SCOPES.index(scope) + 1])


def needs(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """The dependency of a route: the caller, who has this scope. Sets `request.state.caller` and `.csrf_token`.

    Raises Unauthorised where nobody says who asks, Refused where they may not.
    """

    async def caller_with_scope(request: Request, _: Annotated[object, Depends(BEARER)] = None) -> Caller:
        caller = await _identified(request)
        if caller is None:
            raise Unauthorised
        request.state.caller = caller
        request.state.csrf_token = csrf_token(request, caller)
        if scope not in caller.scopes:
            has = max(caller.scopes, key=SCOPES.index)
            raise Refused(f"This needs the scope {scope}; {caller.person}'s token has {has}. Ask for another token.")
        if request.method not in SAFE and _browser(request, caller):
            await _check_csrf(request)
        return caller

    return caller_with_scope


async def allowed_picture(request: Request) -> None:
    """The dependency of pictures: a signed, unexpired address, or a caller. Raises Unauthorised, Refused."""
    given = request.query_params
    if "signature" in given:
        why = refusal(request.url.path, given.get("expires", ""), given["signature"], request.app.state.key)
        if why:
            raise Refused(why)
        return
    if await _identified(request) is None:
        raise Unauthorised


async def _identified(request: Request) -> Caller | None:
    """`identify`; on a thread of its own only where the catalog is asked, since going to one takes longer than most."""
    if "authorization" in request.headers or COOKIE in request.cookies:
        return await run_in_threadpool(identify, request)
    return identify(request)


def identify(request: Request) -> Caller | None:
    """Who asks; None where nobody says, or the token or cookie doesn't hold."""
    settings, catalog = request.app.state.settings, request.app.state.catalog
    if came_by_socket(request):
        return Caller(user_name(), up_to("write"), "socket")
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if token:
        known = catalog.access_of(token_sha256(token.strip())) if scheme.lower() == "bearer" else None
        return Caller(known["person"], up_to(known["scope"]), "token") if known else None
    if session := request.cookies.get(COOKIE):
        digest = session_token(session, request.app.state.key)
        known = catalog.access_of(digest) if digest else None
        if known:
            return Caller(known["person"], up_to(known["scope"]), "cookie", session)
    return None if settings.require_token else Caller(user_name(), up_to("write"))


def came_by_socket(request: Request) -> bool:
    """Whether it came by the Unix socket; told by the socket itself, not by anything sent."""
    name, port = request.scope.get("server") or ("", 0)
    return port is None and name == str(request.app.state.settings.socket_path)


def new_session(digest: str, key: bytes) -> str:
    """The cookie's value for the token with this hash."""
    expires = int(time.time()) + SESSION_SECONDS
    return f"{digest}.{expires}.{signature(key, 'session', digest, expires)}"


def session_token(session: str, key: bytes) -> str | None:
    """The hash of the token that a cookie was made for, None where it isn't ours or has expired."""
    digest, _, rest = session.partition(".")
    expires, _, given = rest.partition(".")
    if not (expires.isascii() and expires.isdigit() and given.isascii()) or int(expires[:12]) < time.time():
        return None
    return digest if hmac.compare_digest(given, signature(key, "session", digest, expires)) else None


def csrf_token(request: Request, caller: Caller) -> str:
    """What a page of this session sends back with every change."""
    return signature(request.app.state.key, "csrf", caller.session)


def check_host(host: str, settings_host: str, public_url: str | None) -> str | None:
    """Why a request that names this host isn't served on loopback; None where it is."""
    name = urlsplit(f"//{host}").hostname or ""
    ours = LOOPBACK | {settings_host} | ({urlsplit(public_url).hostname or ""} if public_url else set())
    return None if name in ours else f"This service is for {settings_host} alone, not for {name or 'no name'}."


def check_origin(method: str, headers: dict[str, str], public_url: str | None) -> str | None:
    """Why a change asked for by a page from elsewhere isn't made; None where it may be."""
    if method in SAFE:
        return None
    origin = headers.get("origin")
    if origin is None:
        return "A page from another site asks for this." if headers.get("sec-fetch-site") == "cross-site" else None
    ours = {headers.get("host", "")} | ({urlsplit(public_url).netloc} if public_url else set())
    return None if urlsplit(origin).netloc in ours - {""} else f"A page of {origin} asks for this; only our own may."


def _browser(request: Request, caller: Caller) -> bool:
    """Whether the request may be a browser's, which sends cookies and local requests for any page it shows."""
    if caller.how in {"socket", "token"}:
        return False
    return caller.how == "cookie" or "origin" in request.headers or "sec-fetch-site" in request.headers


async def _check_csrf(request: Request) -> None:
    given = request.headers.get("x-csrf-token")
    if given is None and request.headers.get("content-type", "").startswith(FORMS):
        given = (await request.form()).get("csrf_token")  # type: ignore[assignment]
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), request.state.csrf_token.encode()):
        raise Refused("This page is out of date: load it again, then do that once more.")


async def _opened(request: Request) -> Catalog:
    catalog: Catalog = request.app.state.catalog
    return catalog


Opened = Annotated[Catalog, Depends(_opened)]
Annotator = Annotated[Caller, Depends(needs("annotate"))]
Writer = Annotated[Caller, Depends(needs("write"))]
Sha256 = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="SHA-256 of the bytes, in hex.")]
