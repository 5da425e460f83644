"""Health checks for containers, without a token: `/healthz` (the service is up), `/readyz` (the catalog answers)."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from curator.server.access import OpenCatalog
from schemas import __version__

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """A healthy state; otherwise the response has status 5xx."""

    status: str = "ok"
    version: str = __version__


@router.get("/healthz", operation_id="isUp")
async def healthz() -> Health:
    """Check that the process answers."""
    return Health()


@router.get("/readyz", operation_id="isReady")
def readyz(catalog: OpenCatalog) -> Health:
    """Check that the catalog answers."""
    catalog.schema_number()
    return Health()
