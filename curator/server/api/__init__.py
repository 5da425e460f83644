"""The API for programs: `/api/v1`, and the files of snapshots at `/snapshots/<identity>/...`; see /openapi.json.

An edge over the stage functions. Reads carry an ETag; a whole set or a filtered dataset streams as Arrow or JSON lines,
whichever `Accept` asks for; errors are problem details (RFC 9457) with the command line's text.
"""

from fastapi import APIRouter

from curator.server.api import captions, datasets, images, jobs, runs, sets, snapshots
from curator.server.api.responses import PROBLEMS

router = APIRouter()
for part in (datasets, images, captions, sets, snapshots, runs, jobs):
    router.include_router(part.router, prefix="/api/v1", responses=PROBLEMS)
router.include_router(snapshots.downloads, responses=PROBLEMS)
