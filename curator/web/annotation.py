"""How each Label Studio project stands: what is done, by whom, what is there to bring back."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from curator.annotate.status import status
from curator.server.access import Opened, needs
from curator.web.render import render
from schemas.errors import AmatlError, NotFound

router = APIRouter(dependencies=[Depends(needs("read"))])


@router.get("/annotation")
def annotation(request: Request, catalog: Opened) -> Response:
    """Every project."""
    result, problem = None, None
    try:
        result = status(catalog)
    except NotFound:
        pass  # nothing was pushed yet: the page says how
    except AmatlError as error:
        problem = str(error)
    return render(request, "annotation.html", result=result, problem=problem)
