"""Log on stderr: one line per request, and tracebacks.

A request's id is `X-Request-ID` if plain. Query strings, headers and bodies are never logged: they may hold
signatures, tokens and captions.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
import time
from datetime import UTC, datetime
from typing import Any, Literal

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LogFormat = Literal["text", "json"]
PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}")
LOG = logging.getLogger("curator.server")
QUIET = ("/static/", "/thumbnails/", "/images/", "/annotators/", "/catalog", "/healthz", "/readyz")


class RequestLog:
    """The outermost ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if PLAIN.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        started, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        facts = {"request_id": request_id, "method": scope["method"], "path": scope["path"]}
        try:
            await self.app(scope, receive, sending)
        except Exception:
            LOG.exception("a request failed", extra={"facts": facts | {"status": 500}})
            raise
        if caller := scope["state"].get("caller"):
            facts["person"] = caller.person
        facts |= {"status": status, "ms": round((time.perf_counter() - started) * 1000, 1)}
        LOG.log(_level(scope["path"], status), "request", extra={"facts": facts})


def configure(log_format: LogFormat) -> None:
    """Log to stderr, as text or JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if log_format == "json" else Lines())
    for name in ("curator.server", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
    LOG.setLevel(logging.INFO)
    # Only uvicorn's warnings: requests are logged here, and tracebacks once.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)


class JsonLines(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, Any] = {"time": _time(record), "level": record.levelname.lower()}
        document |= {"message": record.getMessage(), **getattr(record, "facts", {})}
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=True)


class Lines(logging.Formatter):
    """Text for people."""

    def format(self, record: logging.LogRecord) -> str:
        facts = getattr(record, "facts", {})
        text = " ".join(json.dumps(value).strip('"') for name, value in facts.items() if name != "request_id")
        line = f"{_time(record)} {text or record.getMessage()}"
        line += f"  [{facts['request_id']}]" if facts else ""
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _level(path: str, status: int) -> int:
    if status >= 500:
        return logging.ERROR
    return logging.DEBUG if path.startswith(QUIET) and status < 400 else logging.INFO


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
