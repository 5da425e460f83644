"""Middleware: checks host, origin, body and load of requests; adds security headers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from curator.server.access import LOOPBACK, host_refusal, origin_refusal
from curator.server.problems import Busy, Refused, TooLarge, TooSlow, problem, problem_response, status_of
from curator.server.settings import Settings

# No inline scripts or styles, nothing from other sites; data: and blob: images are made by the page itself.
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
FREE_SECONDS = 60.0  # before the minimum rate of a body applies
# Paths with large bodies: rows of a whole set, images, run reports.
LARGE = ("/catalog/", "/uploads/", "/api/v1/runs")


class Guards:
    """Refuses bad requests with a problem document."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings, self.in_progress = app, settings, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        send = _with_headers(send)
        if refused := self._refusal(scope):
            document = problem(status_of(refused), str(refused), type(refused).__name__)
            await problem_response(Request(scope, receive), document, {"Connection": "close"})(scope, receive, send)
            return
        self.in_progress += 1
        try:
            await self.app(scope, self._limited(scope, receive), send)
        finally:
            self.in_progress -= 1

    def _refusal(self, scope: Scope) -> Refused | None:
        headers, settings = Headers(scope=scope), self.settings
        by_socket = bool(scope.get("server")) and scope["server"][1] is None
        if not by_socket:
            problem = None
            if settings.host in LOOPBACK:
                problem = host_refusal(headers.get("host", ""), settings.host, settings.public_url)
            problem = problem or origin_refusal(scope["method"], dict(headers), settings.public_url)
            if problem:
                return Refused(problem)
        if self.in_progress >= settings.max_requests:
            return Busy()
        length = headers.get("content-length", "0")
        return TooLarge() if length.isdigit() and int(length) > self._limit(scope) else None

    def _limit(self, scope: Scope) -> int:
        large = scope["path"].startswith(LARGE)
        return self.settings.max_upload_bytes if large else self.settings.max_body_bytes

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """Wrap `receive`: raise TooLarge or TooSlow for the body."""
        received_bytes, limit, complete, started = 0, self._limit(scope), False, time.monotonic()
        pause, least = self.settings.body_pause_seconds, self.settings.body_least_bytes_per_second

        async def counted() -> Message:
            nonlocal received_bytes, complete
            if complete:  # only a disconnect can follow
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), pause)
            except TimeoutError:
                raise TooSlow from None
            received_bytes += len(message.get("body", b"")) if message["type"] == "http.request" else 0
            complete = not message.get("more_body", False)
            if received_bytes > limit:
                raise TooLarge
            seconds = time.monotonic() - started
            if not complete and seconds > FREE_SECONDS and received_bytes < seconds * least:
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
