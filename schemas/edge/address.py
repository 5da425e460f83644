"""Addresses of services, and what a token risks on the way there.

A token that goes over plain http to another machine can be read on the way: whoever sends it is warned, not stopped.
Stopping would cut off those whose network is private (a VPN, containers); on this machine itself nobody is warned.
"""

from __future__ import annotations

import ipaddress
import re
import warnings
from pathlib import Path
from urllib.parse import urlsplit

ADDRESS = re.compile(r"(https?):/+([^/\s]\S*)")


def address_of(place: Path | str) -> str | None:
    """Return the address that a place is, None for a path. A Path writes `http://host` as `http:/host`."""
    match = ADDRESS.fullmatch(str(place))
    return f"{match[1]}://{match[2].rstrip('/')}" if match else None


class InTheClear(UserWarning):
    """A token can be read on its way."""


def warn_in_the_clear(address: str) -> None:
    """Warns where a token that is sent to `address` can be read on the way."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme == "http" and not is_this_machine(host):
        where = f"[{host}]" if ":" in host else host  # without the login that an address may hold
        warnings.warn(
            f"http://{where}: your token goes there unencrypted, for all on the way to read. Use https, or a tunnel.",
            InTheClear,
            stacklevel=2,
        )


def is_this_machine(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
