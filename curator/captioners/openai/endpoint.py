"""Which server is asked, and with which key. The key is read from the environment, here and nowhere else.

It is in no option, so the catalog never sees it, and it is taken out of what the server says before anyone reads that.
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
PART = 8
SHOWN = 160  # characters of what a server says


@dataclass(frozen=True)
class Endpoint:
    """Where requests go. `key` is None where the environment has none: local servers need none."""

    base_url: str
    key_env: str
    key: str | None = field(repr=False)

    @property
    def host(self) -> str:
        """Its name, without port."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def wants_a_key(self) -> str:
        """What to say where it is asked without one."""
        return f"{self.host} wants a key, and the environment has no {self.key_env}: export {self.key_env}=..."

    def without_key(self, text: str) -> str:
        """What a server said, on one line, shortened, the key and every part of it taken out."""
        line = " ".join(_without_parts(text, self.key).split() if self.key else text.split())
        return line if len(line) <= SHOWN else line[: SHOWN - 3] + "..."


def find_endpoint(base_url: str | None, key_env: str) -> Endpoint:
    """From the options and the environment. Raises BadOption where that gives no usable address."""
    from_environment = os.environ.get(URL_VARIABLE, "").strip()
    if base_url is None and from_environment:
        try:
            base_url = checked_url(from_environment)
        except ValueError as error:
            raise BadOption(f"The environment's {URL_VARIABLE}: {error}.") from None
    return Endpoint(base_url or DEFAULT_URL, key_env, os.environ.get(key_env, "").strip() or None)


def check_key(endpoint: Endpoint) -> None:
    """Raises BadOption where a key is certainly wanted and there is none. Other servers may need none."""
    if endpoint.key is None and endpoint.host == urlsplit(DEFAULT_URL).hostname:
        raise BadOption(f"{endpoint.wants_a_key}, or ask another server: -o base_url=http://localhost:8000/v1")


def checked_url(url: str) -> str:
    """The address without a slash at its end. Raises ValueError; what it says never repeats a password."""
    parts = urlsplit(url.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("write the API's address as http(s)://HOST[:PORT]/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("no user, password or ?query in the address: a key belongs into the environment (key_env)")
    return url.strip().rstrip("/")


def in_the_clear(endpoint: Endpoint) -> str | None:
    """A warning where the key would travel unencrypted over a network."""
    if endpoint.key is None or not endpoint.base_url.lower().startswith("http:") or is_this_machine(endpoint.host):
        return None
    return f"The key in {endpoint.key_env} goes to {endpoint.host} unencrypted, by http: anyone between can read it."


def _without_parts(text: str, key: str) -> str:
    """`***` for whatever repeats PART or more of the key's characters in a row: servers quote keys shortened."""
    length = min(PART, len(key))
    parts = {key[at : at + length] for at in range(len(key) - length + 1)}
    kept = list(text)
    for at in range(len(text) - length + 1):
        if text[at : at + length] in parts:
            kept[at : at + length] = ["\0"] * length
    return re.sub("\0+", "***", "".join(kept))
