"""What `annotate start` serves to annotators, at /annotators of a service too: for a Label Studio that runs elsewhere.

Addresses are signed when tasks are pushed (curator.annotate.previews.make); whoever has one needs no login.
"""

from __future__ import annotations

from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from curator.annotate.previews.make import preview_folder
from curator.annotate.previews.serve import app


class AnnotationPictures:
    """An ASGI app: a catalog's previews and their `/healthz`. Their folder and key are made at the first request."""

    def __init__(self, catalog_path: Path) -> None:
        self.catalog_path = catalog_path
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.app = self.app or app(preview_folder(self.catalog_path))
        await self.app(scope, receive, send)
