"""Addresses of services, and a warning for tokens over plain http.

A token sent over plain http to another machine can be read on the way. This is a warning, not an error: the network may
be private (a VPN, containers).
"""

from __future__ import annotations

import ipaddress
import re
import warnings
from pathlib import Path
from urllib.parse import urlsplit

ADDRESS = re.compile(r"(https?):/+([^/\s]\S*)")


def address_of(place: Path | str) -> str | None:
    """Return the address, or None for a path. A Path writes `http://host` as `http:/host`."""
    match = ADDRESS.fullmatch(str(place))
    return f"{match[1]}://{match[2].rstrip('/')}" if match else None


class UnencryptedTokenWarning(UserWarning):
    """A token is sent unencrypted."""


def warn_if_unencrypted(address: str) -> None:
    """Warn if a token sent to `address` can be read on the way."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme == "http" and not is_this_machine(host):
        where = f"[{host}]" if ":" in host else host  # without the login that an address may hold
        warnings.warn(
            f"http://{where}: your token goes there unencrypted, for all on the way to read. Use https, or a tunnel.",
            UnencryptedTokenWarning,
            stacklevel=2,
        )


def is_this_machine(host: str) -> bool:
    """Return whether a host name or address is this machine's own."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
