"""Which Label Studio a command speaks to, and with which token: options, the environment, `annotate start`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from curator.annotate.client import LabelStudio, TokenRefused
from curator.annotate.state import LocalServer, read_local_server
from schemas.edge.address import address_of
from schemas.errors import BadOption

TOKEN_VARIABLE = "LABEL_STUDIO_API_KEY"
URL_VARIABLE = "LABEL_STUDIO_URL"
IMAGES_VARIABLE = "CURATOR_IMAGES_URL"
LOGIN = re.compile(r"(?:\w+://)?[^/?#]*@")


def connect(catalog_path: Path, url: str | None, last_url: str | None = None) -> LabelStudio:
    """A connection to the Label Studio at `url`, else $LABEL_STUDIO_URL, else the one pushed to last, else `start`'s.

    Raises BadOption where no address is known, TokenRefused where no token is.
    """
    local = read_local_server(catalog_path)
    found = address(local, url, last_url)
    return LabelStudio(found, _token(local, found))


def address(local: LocalServer | None, url: str | None, last_url: str | None) -> str:
    """Label Studio's address. A local one may have another port since the last push: what `start` says holds."""
    if url := url or os.environ.get(URL_VARIABLE):
        return _whole("--url", url, "http://localhost:8080")
    if local and (last_url is None or _is_local(last_url)):
        return local.url.rstrip("/")
    if last_url:
        return last_url
    raise BadOption("--url: name Label Studio's address, or start one here with: curator annotate start")


def images_address(catalog_path: Path, images_url: str | None, last: str | None) -> str:
    """Where the previews are: the option, else $CURATOR_IMAGES_URL, else what `start` says, else those of last push.

    By URL the service itself serves them, at /annotators.
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
    """An address without a slash at its end. One with a login in it is refused: it would stand in catalog and tasks."""
    if LOGIN.match(url):
        raise BadOption(f"{option}: leave the login out of the address; the token is in {TOKEN_VARIABLE}.")
    if not url.startswith(("http://", "https://")):
        raise BadOption(f"{option} {url}: write the whole address, like {example}.")
    return url.rstrip("/")


def _token(local: LocalServer | None, url: str) -> str:
    """The token from the environment, else `start`'s, which is sent to its own Label Studio only."""
    if token := os.environ.get(TOKEN_VARIABLE, "").strip():
        return token
    if local and local.url.rstrip("/") == url:
        return local.token
    raise TokenRefused(
        f"No token for Label Studio at {url}. Set {TOKEN_VARIABLE}: Account & Settings in Label Studio has one."
    )


def _is_local(url: str) -> bool:
    return "//localhost" in url or "//127.0.0.1" in url
