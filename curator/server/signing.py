"""Addresses that are good for a while without a token: pictures in a page of another origin or in a notebook.

A signature is HMAC-SHA256 over purpose, path and expiry with the service's own key, which never leaves its data folder.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from urllib.parse import urlencode

# Addresses made within the same hour are equal, so that caches hit.
ROUNDED_TO_SECONDS = 3600


def signature(key: bytes, purpose: str, *parts: str | int) -> str:
    """64 hexadecimal digits over what is signed; `purpose` keeps one kind of signature from passing for another."""
    message = "\n".join((purpose, *map(str, parts)))
    return hmac.new(key, message.encode(), hashlib.sha256).hexdigest()


def expiry(seconds: int = 24 * 3600, now: float | None = None) -> int:
    """In `seconds`, or up to an hour later; in seconds since 1970."""
    expires = int(time.time() if now is None else now) + seconds
    return expires + -expires % ROUNDED_TO_SECONDS


def signed(path: str, key: bytes, seconds: int = 24 * 3600, now: float | None = None) -> str:
    """`path` with an expiry and a signature: good for `seconds`, up to an hour longer."""
    expires = expiry(seconds, now)
    return f"{path}?{urlencode({'expires': expires, 'signature': signature(key, 'address', path, expires)})}"


def refusal(path: str, expires: str, given: str, key: bytes, now: float | None = None) -> str | None:
    """Why an address isn't good; None where it is."""
    if not re.fullmatch(r"[0-9]{1,12}", expires) or not re.fullmatch(r"[0-9a-f]{64}", given):
        return "This address isn't signed."
    if not hmac.compare_digest(given, signature(key, "address", path, int(expires))):
        return "The signature is wrong."
    if int(expires) < (time.time() if now is None else now):
        return "This address has expired. Load the page again."
    return None
