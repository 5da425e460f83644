"""Pages for people, rendered with Jinja from stage results.

Without the scripts in static/ every page still shows everything and its forms work.
"""

from fastapi import APIRouter

from curator.server.web import (
    annotation,
    compare,
    datasets,
    export,
    gallery,
    jobs,
    lineage,
    login,
    replace,
    selection,
    versions,
)
from curator.server.web.assets import router as assets
from curator.server.web.render import error_page

__all__ = ["error_page", "router"]

router = APIRouter(include_in_schema=False)
for part in (datasets, export, gallery, selection, versions, compare, lineage, replace, annotation, jobs, login):
    router.include_router(part.router)
router.include_router(assets)
