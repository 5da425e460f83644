"""The API for programs: `/api/v1`, and snapshot files; described by /openapi.json.

Reads have an ETag; whole tables stream as Arrow or JSON lines; errors are RFC 9457 problems.
"""

from fastapi import APIRouter

from curator.server.api import captions, datasets, images, jobs, runs, sets, snapshots
from curator.server.api.responses import PROBLEMS

router = APIRouter()
for part in (datasets, images, captions, sets, snapshots, runs, jobs):
    router.include_router(part.router, prefix="/api/v1", responses=PROBLEMS)
router.include_router(snapshots.downloads, responses=PROBLEMS)
