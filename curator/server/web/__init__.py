"""Pages for people: an edge over the stage functions, drawn on the server by Jinja.

What changes a caption goes through the same API as programs use; the small scripts in static/ only spare loading pages.
Without them every page still shows everything, and forms still work. Assets are shipped, named by their content.
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
