"""Whether the service is up (`/healthz`), and whether it can answer (`/readyz`): for containers, without a token."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from curator.server.access import Opened
from schemas import __version__

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """It is well; what isn't is a problem with status 5xx, or no answer."""

    status: str = "ok"
    version: str = __version__


@router.get("/healthz", operation_id="isUp")
async def healthz() -> Health:
    """The process answers."""
    return Health()


@router.get("/readyz", operation_id="isReady")
def readyz(catalog: Opened) -> Health:
    """The catalog answers."""
    catalog.schema_number()
    return Health()
