"""Resolve the server's address and key.

The key is read from the environment, only here. It is in no option, so the catalog never stores it, and it is removed
from the server's messages before they are shown.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from schemas.edge.address import is_this_machine
from schemas.errors import BadOption

DEFAULT_URL = "https://api.openai.com/v1"
URL_VARIABLE = "OPENAI_BASE_URL"
MIN_KEY_PART = 8  # characters
MAX_MESSAGE = 160  # characters of a server's message


@dataclass(frozen=True)
class Endpoint:
    """A server's address. `key`: None if the environment has none, as local servers need none."""

    base_url: str
    key_env: str
    key: str | None = field(repr=False)

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).hostname or ""

    @property
    def missing_key(self) -> str:
        return f"{self.host} needs a key, and the environment has no {self.key_env}: export {self.key_env}=..."

    def without_key(self, text: str) -> str:
        """Return a server's message on one line, shortened, without the key or parts of it."""
        line = " ".join(_without_parts(text, self.key).split() if self.key else text.split())
        return line if len(line) <= MAX_MESSAGE else line[: MAX_MESSAGE - 3] + "..."


def find_endpoint(base_url: str | None, key_env: str) -> Endpoint:
    from_environment = os.environ.get(URL_VARIABLE, "").strip()
    if base_url is None and from_environment:
        try:
            base_url = checked_url(from_environment)
        except ValueError as error:
            raise BadOption(f"The environment variable {URL_VARIABLE}: {error}.") from None
    return Endpoint(base_url or DEFAULT_URL, key_env, os.environ.get(key_env, "").strip() or None)


def check_key(endpoint: Endpoint) -> None:
    """Raise BadOption if OpenAI's own server has no key. Other servers may need none."""
    if endpoint.key is None and endpoint.host == urlsplit(DEFAULT_URL).hostname:
        raise BadOption(f"{endpoint.missing_key}, or name another server: -o base_url=http://localhost:8000/v1")


def checked_url(url: str) -> str:
    """Return the address without a trailing slash. Raises ValueError, whose message never quotes a password."""
    parts = urlsplit(url.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("write the API's address as http(s)://HOST[:PORT]/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("no user, password or ?query in the address; put the key into the environment (key_env)")
    return url.strip().rstrip("/")


def unencrypted_key_warning(endpoint: Endpoint) -> str | None:
    if endpoint.key is None or not endpoint.base_url.lower().startswith("http:") or is_this_machine(endpoint.host):
        return None
    return f"The key in {endpoint.key_env} goes to {endpoint.host} unencrypted (http), readable on the network."


def _without_parts(text: str, key: str) -> str:
    """Replace any MIN_KEY_PART or more consecutive characters of the key by `***`, since servers quote keys in part."""
    length = min(MIN_KEY_PART, len(key))
    parts = {key[start : start + length] for start in range(len(key) - length + 1)}
    letters = list(text)
    for start in range(len(text) - length + 1):
        if text[start : start + length] in parts:
            letters[start : start + length] = ["\0"] * length
    return re.sub("\0+", "***", "".join(letters))
