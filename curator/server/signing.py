"""Signed addresses: images without a token for a limited time.

A signature is HMAC-SHA256 over purpose, path and expiry, with the service's own key.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from urllib.parse import urlencode

# Addresses made in the same hour are equal, so that caches work.
ROUNDED_TO_SECONDS = 3600


def signature(key: bytes, purpose: str, *parts: str | int) -> str:
    """Return 64 hexadecimal digits. `purpose` separates kinds of signatures."""
    message = "\n".join((purpose, *map(str, parts)))
    return hmac.new(key, message.encode(), hashlib.sha256).hexdigest()


def expiry(seconds: int = 24 * 3600, now: float | None = None) -> int:
    """Return seconds since 1970, rounded up to an hour."""
    expires = int(time.time() if now is None else now) + seconds
    return expires + -expires % ROUNDED_TO_SECONDS


def signed(path: str, key: bytes, seconds: int = 24 * 3600, now: float | None = None) -> str:
    """Return `path` with expiry and signature, valid for up to an hour longer."""
    expires = expiry(seconds, now)
    return f"{path}?{urlencode({'expires': expires, 'signature': signature(key, 'address', path, expires)})}"


def refusal(path: str, expires: str, given: str, key: bytes, now: float | None = None) -> str | None:
    """Return why an address is invalid; None if valid."""
    if not re.fullmatch(r"[0-9]{1,12}", expires) or not re.fullmatch(r"[0-9a-f]{64}", given):
        return "This address isn't signed."
    if not hmac.compare_digest(given, signature(key, "address", path, int(expires))):
        return "The signature of this address is wrong."
    if int(expires) < (time.time() if now is None else now):
        return "This address has expired. Load the page again."
    return None
