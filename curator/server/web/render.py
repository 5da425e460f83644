"""Render templates, notices and error pages."""

from __future__ import annotations

import hmac
import json
import re
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from curator.server.signing import signature
from curator.server.web import assets
from schemas.edge.words import duration, moment, number, percent, plural, size

# Not stored by shared caches, but a browser may go back to the page as it was left.
HEADERS = {"Cache-Control": "private, no-cache"}
OPTION = re.compile(r"--[a-z-]+")
LABELS = {  # of the fields in the templates
    "--holdout": "Number of images",
    "--holdout-fraction": "Share of images",
    "--holdout-where": "Images where",
    "--holdout-trained": "Hold out images that earlier snapshots trained on",
    "--keep-missing": "Include images without all captions",
    "--keep-rejected": "Include images that a person rejected",
    "--where": "Only images where",
    "--find": "Find",
    "--with": "Replace with",
    "--sets": "Sets",
}


def render(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """Render a template with the caller, the page's CSRF token, and the address that commands name."""
    context |= {
        "path": request.url.path,
        "address": request.app.state.settings.public_url or str(request.base_url).rstrip("/"),
        "caller": getattr(request.state, "caller", None),
        "csrf_token": getattr(request.state, "csrf_token", ""),
    }
    return HTMLResponse(_templates().get_template(template).render(**context), status, HEADERS)


def error_page(request: Request, document: dict[str, Any]) -> HTMLResponse:
    return render(request, "error.html", document["status"], problem=document, back=_form_page(request))


def _form_page(request: Request) -> str | None:
    """Return our page whose form sent this change, if any."""
    page = urlsplit(request.headers.get("referer", ""))
    if request.method in ("GET", "HEAD") or page.netloc != request.headers.get("host") or not page.path.startswith("/"):
        return None
    return page.path + (f"?{page.query}" if page.query else "")


def query(**parameters: Any) -> str:
    """Return `?a=1&b=2` without empty parameters."""
    given = {name: value for name, value in parameters.items() if value not in (None, "", (), [])}
    return f"?{urlencode(given, doseq=True)}" if given else ""


def notice_parameters(request: Request, notice: str, run: int | None = None) -> dict[str, Any]:
    """Sign a notice for the next page, so that a forged link can't show one."""
    return {"said": notice, "run": run, "sign": _sign(request, notice, str(run or ""))}


def read_notice(request: Request) -> tuple[str | None, str | None]:
    """Return the notice and the run to undo; (None, None) without a valid signature."""
    parameters = request.query_params
    notice, run = parameters.get("said", ""), parameters.get("run", "")
    sign = parameters.get("sign", "")
    if not notice or not hmac.compare_digest(sign.encode(), _sign(request, notice, run).encode()):
        return None, None
    return notice, run or None


def _sign(request: Request, notice: str, run: str) -> str:
    return signature(request.app.state.key, "said", run, notice)


def for_page(message: str) -> str:
    """Replace command-line options by the labels of the page's fields."""
    message = message.replace("add --", "tick --").replace("Add --", "Tick --")
    return OPTION.sub(lambda match: f"“{LABELS[match[0]]}”" if match[0] in LABELS else match[0], message)


def plain(value: Any) -> str:
    """Format a metadata value as the filter expects it."""
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
        "plain": plain, "plural": plural, "for_page": for_page, "part": lambda text: quote(text, safe=""),
    }  # fmt: skip
    templates.globals |= {"asset": assets.address, "query": query}
    return templates
