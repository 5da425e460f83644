"""What every request passes before a route sees it: host, origin, size, number; and the headers of every answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from curator.server.access import LOOPBACK, check_host, check_origin
from curator.server.problems import Busy, Refused, TooLarge, TooSlow, answer, problem, status_of
from curator.server.settings import Settings

# No script or style within a page, nothing from elsewhere; pictures drawn by a page (canvas, data) are its own.
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
# Rows of a whole set, and pictures: what a remote catalog, a remote ingest and a trainer's report send.
FREE_SECONDS = 60.0
LARGE = ("/catalog/", "/uploads/", "/api/v1/runs")


class Guards:
    """ASGI middleware. Refuses what no route should see, as problems; counts what is in hand."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings, self.in_hand = app, settings, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        send = _with_headers(send)
        if refused := self._refusal(scope):
            document = problem(status_of(refused), str(refused), type(refused).__name__)
            await answer(Request(scope, receive), document, {"Connection": "close"})(scope, receive, send)
            return
        self.in_hand += 1
        try:
            await self.app(scope, self._limited(scope, receive), send)
        finally:
            self.in_hand -= 1

    def _refusal(self, scope: Scope) -> Refused | None:
        headers, settings = Headers(scope=scope), self.settings
        by_socket = bool(scope.get("server")) and scope["server"][1] is None
        if not by_socket:
            why = None
            if settings.host in LOOPBACK:
                why = check_host(headers.get("host", ""), settings.host, settings.public_url)
            why = why or check_origin(scope["method"], dict(headers), settings.public_url)
            if why:
                return Refused(why)
        if self.in_hand >= settings.max_requests:
            return Busy()
        length = headers.get("content-length", "0")
        return TooLarge() if length.isdigit() and int(length) > self._limit(scope) else None

    def _limit(self, scope: Scope) -> int:
        large = scope["path"].startswith(LARGE)
        return self.settings.max_upload_bytes if large else self.settings.max_body_bytes

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """The same body, cut off with an error where it is larger or slower than it may be."""
        seen, limit, complete, begun = 0, self._limit(scope), False, time.monotonic()
        pause, least = self.settings.body_pause_seconds, self.settings.body_least_bytes_per_second

        async def counted() -> Message:
            nonlocal seen, complete
            if complete:  # what may come yet is the end of the connection
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), pause)
            except TimeoutError:
                raise TooSlow from None
            seen += len(message.get("body", b"")) if message["type"] == "http.request" else 0
            complete = not message.get("more_body", False)
            if seen > limit:
                raise TooLarge
            took = time.monotonic() - begun
            if not complete and took > FREE_SECONDS and seen < took * least:
                raise TooSlow
            return message

        return counted


def _with_headers(send: Send) -> Callable[[Any], Any]:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
