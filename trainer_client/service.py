"""How the trainer speaks to a curator service: addresses, the token, answers that are problems.

The token comes from the environment (AMATL_TOKEN) and goes into one header, never into a message.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from schemas.edge.address import warn_in_the_clear
from schemas.errors import AmatlError, NotFound, ServiceFailed
from trainer_client.rank_zero import is_rank_zero

if TYPE_CHECKING:
    import httpx

TOKEN = "AMATL_TOKEN"
CONNECT_SECONDS, READ_SECONDS = 10, 60
CONNECTIONS = 8


def client(address: str) -> httpx.Client:
    """Connections to a service, with the token where there is one. Redirects aren't followed: it stays there."""
    import httpx

    from schemas import __version__

    headers = {"User-Agent": f"amatl-trainer/{__version__}"}
    if token := os.environ.get(TOKEN, "").strip():
        if not token.isascii() or not token.isprintable():
            raise ServiceFailed(f"{TOKEN}: holds characters that no token has. Set it again.")
        headers["Authorization"] = f"Bearer {token}"
        if is_rank_zero():
            warn_in_the_clear(address)
    return httpx.Client(
        headers=headers,
        timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
        limits=httpx.Limits(max_connections=CONNECTIONS),
    )


def refusal(address: str, answer: httpx.Response) -> AmatlError:
    """The error an answer tells of, with the service's own words where it has some."""
    status = answer.status_code
    said = _detail(answer)
    if status == 401:
        what = "refuses the token" if os.environ.get(TOKEN) else "wants a token"
        return ServiceFailed(f"{address}: the service {what}. Set {TOKEN}; curator token makes one.")
    if status == 413:
        return ServiceFailed(f"{address}: larger than the service takes. {said}".rstrip())
    if status == 404:
        return NotFound(f"{address}: {said or 'there is nothing at this address.'}")
    if 300 <= status < 400:
        return ServiceFailed(
            f"{address}: has moved to {answer.headers.get('location', 'elsewhere')}. Give that address."
        )
    return ServiceFailed(f"{address}: {said or f'answered {status}, and not as a curator service does.'}")


def unreachable(address: str, error: Exception) -> ServiceFailed:
    """What a connection that can't be made, or breaks, comes to."""
    reason = str(error) or type(error).__name__
    return ServiceFailed(f"{address}: can't be reached ({reason}). Is the service running?")


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return ""
