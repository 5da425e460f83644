"""Draws templates: what they all know, how numbers and moments are written, the page of an error."""

from __future__ import annotations

import hmac
import json
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from curator.server.signing import signature
from curator.server.web import assets
from schemas.edge.words import duration, moment, number, percent, plural, size

# Never kept by a cache, yet a browser may go back to the page as it was left.
HEADERS = {"Cache-Control": "private, no-cache"}


def render(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """The page of a template: with who looks at it, and the token that its changes are sent with."""
    context |= {
        "path": request.url.path,
        "caller": getattr(request.state, "caller", None),
        "csrf_token": getattr(request.state, "csrf_token", ""),
    }
    return HTMLResponse(_templates().get_template(template).render(**context), status, HEADERS)


def error_page(request: Request, document: dict[str, Any]) -> HTMLResponse:
    """A problem as a page, with the text that the command line prints."""
    return render(request, "error.html", document["status"], problem=document, back=_came_from(request))


def _came_from(request: Request) -> str | None:
    """The page of ours whose form led here, to go back to; None where nothing was to be changed, or nobody says."""
    came = urlsplit(request.headers.get("referer", ""))
    if request.method in ("GET", "HEAD") or came.netloc != request.headers.get("host") or not came.path.startswith("/"):
        return None
    return came.path + (f"?{came.query}" if came.query else "")


def query(**parameters: Any) -> str:
    """`?a=1&b=2` of those that say something, in the order given; empty where none does."""
    said = {name: value for name, value in parameters.items() if value not in (None, "", (), [])}
    return f"?{urlencode(said, doseq=True)}" if said else ""


def telling(request: Request, said: str, run: int | None = None) -> dict[str, Any]:
    """Parameters by which the next page says what was done; signed, so that no link can make a page say anything."""
    return {"said": said, "run": run, "sign": _sign(request, said, str(run or ""))}


def told(request: Request) -> tuple[str | None, str | None]:
    """What the page before did, and the run that can be undone; nothing where `telling` didn't write it."""
    given = request.query_params
    said, run = given.get("said", ""), given.get("run", "")
    if not said or not hmac.compare_digest(given.get("sign", "").encode(), _sign(request, said, run).encode()):
        return None, None
    return said, run or None


def _sign(request: Request, said: str, run: str) -> str:
    return signature(request.app.state.key, "said", run, said)


def plain(value: Any) -> str:
    """A metadata value as it is searched by: text as it is, lists by their items, all else as JSON writes it."""
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(plain(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("curator.server.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "number": number, "percent": percent, "moment": moment, "size": size, "duration": duration,
        "plain": plain, "plural": plural, "part": lambda text: quote(text, safe=""),
    }  # fmt: skip
    templates.globals |= {"asset": assets.address, "query": query}
    return templates
