"""Choose the Label Studio to connect to, and its token: from options, the environment, or `annotate start`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from curator.annotate.label_studio.client import LabelStudio
from curator.annotate.label_studio.http import TokenRefused
from curator.annotate.local_server.state import LocalServer, read_local_server
from schemas.edge.address import address_of
from schemas.errors import BadOption

TOKEN_VARIABLE = "LABEL_STUDIO_API_KEY"
URL_VARIABLE = "LABEL_STUDIO_URL"
IMAGES_VARIABLE = "CURATOR_IMAGES_URL"
LOGIN = re.compile(r"(?:\w+://)?[^/?#]*@")


def connect(catalog_path: Path, url: str | None, last_url: str | None = None) -> LabelStudio:
    """Connect to `url`, else $LABEL_STUDIO_URL, else the Label Studio pushed to last, else the one of `start`.

    Raise BadOption if no address is known, TokenRefused if no token is.
    """
    local = read_local_server(catalog_path)
    found = address(local, url, last_url)
    return LabelStudio(found, _token(local, found))


def address(local: LocalServer | None, url: str | None, last_url: str | None) -> str:
    """Return Label Studio's address. A local one may have changed its port since the last push: `start` knows it."""
    if url := url or os.environ.get(URL_VARIABLE):
        return _whole("--url", url, "http://localhost:8080")
    if local and (last_url is None or _is_local(last_url)):
        return local.url.rstrip("/")
    if last_url:
        return last_url
    raise BadOption("--url: name Label Studio's address, or start one here with: curator annotate start")


def images_address(catalog_path: Path, images_url: str | None, last: str | None) -> str:
    """Return the previews' address: the option, else $CURATOR_IMAGES_URL, else that of `start`, else the last push's.

    For a catalog that a service holds it is the service's own, /annotators.
    """
    local = read_local_server(catalog_path)
    images_url = images_url or os.environ.get(IMAGES_VARIABLE)
    service = address_of(catalog_path)
    own = f"{service}/annotators" if service else None
    if found := images_url or (local.images_url if local else None) or last or own:
        return _whole("--images-url", found, "http://localhost:8081")
    raise BadOption(
        "--images-url: name the address under which annotators reach the previews: that of `curator annotate start`, "
        "or a service's, such as https://lab.example.org/annotators"
    )


def _whole(option: str, url: str, example: str) -> str:
    """Return a URL without a slash at its end. Refuse one with a login: catalog and tasks would keep it."""
    if LOGIN.match(url):
        raise BadOption(f"{option}: leave the login out of the address; the token is in {TOKEN_VARIABLE}.")
    if not url.startswith(("http://", "https://")):
        raise BadOption(f"{option} {url}: write the whole address, like {example}.")
    return url.rstrip("/")


def _token(local: LocalServer | None, url: str) -> str:
    """Return the environment's token, else that of `start`, which is sent to its own Label Studio only."""
    if token := os.environ.get(TOKEN_VARIABLE, "").strip():
        return token
    if local and local.url.rstrip("/") == url:
        return local.token
    raise TokenRefused(
        f"No token for Label Studio at {url}. Set {TOKEN_VARIABLE}: Account & Settings in Label Studio has one."
    )


def _is_local(url: str) -> bool:
    return "//localhost" in url or "//127.0.0.1" in url
