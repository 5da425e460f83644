"""Serve the previews at /annotators, for a Label Studio on another machine.

Addresses are signed when tasks are pushed (curator.annotate.previews.make) and need no login.
"""

from __future__ import annotations

from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from curator.annotate.previews.make import preview_folder
from curator.annotate.previews.serve import app


class AnnotationImages:
    """An ASGI app. Creates the previews' folder and key at the first request."""

    def __init__(self, catalog_path: Path) -> None:
        self.catalog_path = catalog_path
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.app = self.app or app(preview_folder(self.catalog_path))
        await self.app(scope, receive, send)
