"""The API for programs: `/api/v1`, and snapshot files at `/snapshots/<identity>/...`; described by /openapi.json.

Endpoints call stage functions. Read responses have an ETag; whole sets and filtered datasets stream as Arrow or JSON
lines, as `Accept` asks; errors are problem documents (RFC 9457) with the command line's text.
"""

from fastapi import APIRouter

from curator.server.api import captions, datasets, images, jobs, runs, sets, snapshots
from curator.server.api.responses import PROBLEMS

router = APIRouter()
for part in (datasets, images, captions, sets, snapshots, runs, jobs):
    router.include_router(part.router, prefix="/api/v1", responses=PROBLEMS)
router.include_router(snapshots.downloads, responses=PROBLEMS)
