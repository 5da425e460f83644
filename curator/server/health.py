"""Health checks without a token, for containers."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from curator.server.access import OpenCatalog
from schemas import __version__

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """Healthy; otherwise the status is 5xx."""

    status: str = "ok"
    version: str = __version__


@router.get("/healthz", operation_id="isUp")
async def healthz() -> Health:
    """The process answers."""
    return Health()


@router.get("/readyz", operation_id="isReady")
def readyz(catalog: OpenCatalog) -> Health:
    """The catalog answers."""
    catalog.schema_number()
    return Health()
