"""HTTP to a curator service: address, token, errors.

The token comes from AMATL_TOKEN and goes into one header, never into a message.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from schemas.edge.address import warn_if_unencrypted
from schemas.errors import AmatlError, NotFound, ServiceFailed
from trainer_client.rank_zero import is_rank_zero

if TYPE_CHECKING:
    import httpx

TOKEN = "AMATL_TOKEN"
CONNECT_SECONDS, READ_SECONDS = 10, 60
CONNECTIONS = 8


def client(address: str) -> httpx.Client:
    """Return an HTTP client, with the token if it is set. Redirects are not followed, so the token is not sent
    elsewhere.
    """
    import httpx

    from schemas import __version__

    headers = {"User-Agent": f"amatl-trainer/{__version__}"}
    if token := os.environ.get(TOKEN, "").strip():
        if not token.isascii() or not token.isprintable():
            raise ServiceFailed(f"{TOKEN}: has characters that no token has. Set it again.")
        headers["Authorization"] = f"Bearer {token}"
        if is_rank_zero():
            warn_if_unencrypted(address)
    return httpx.Client(
        headers=headers,
        timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
        limits=httpx.Limits(max_connections=CONNECTIONS),
    )


def refusal(address: str, answer: httpx.Response) -> AmatlError:
    """Return the error for a response, with the service's message if it has one."""
    status = answer.status_code
    said = _detail(answer)
    if status == 401:
        what = "refuses the token" if os.environ.get(TOKEN) else "wants a token"
        return ServiceFailed(f"{address}: the service {what}. Set {TOKEN}; `curator token` creates one.")
    if status == 413:
        return ServiceFailed(f"{address}: larger than the service accepts. {said}".rstrip())
    if status == 404:
        return NotFound(f"{address}: {said or 'nothing at this address. Check it.'}")
    if 300 <= status < 400:
        return ServiceFailed(
            f"{address}: has moved to {answer.headers.get('location', 'elsewhere')}. Give that address."
        )
    return ServiceFailed(
        f"{address}: {said or f'answered {status}, not as a curator service does. Check the address.'}"
    )


def unreachable(address: str, error: Exception) -> ServiceFailed:
    """Return the error for a connection that fails or breaks."""
    reason = str(error) or type(error).__name__
    return ServiceFailed(f"{address}: can't be reached ({reason}). Is the service running?")


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return ""
