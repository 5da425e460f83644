"""Which faults of a connection are tried again when a run is posted."""

from __future__ import annotations

import httpx
import pytest

from schemas.errors import ServiceFailed
from trainer_client.post import ATTEMPTS, _sent


@pytest.mark.parametrize(
    ("error", "requests"),
    [
        (httpx.ReadError("reset"), ATTEMPTS),
        (httpx.ConnectTimeout("slow"), ATTEMPTS),
        (httpx.ConnectError("refused"), 1),
    ],
)
def test_what_may_pass_is_tried_again(error: httpx.TransportError, requests: int) -> None:
    asked: list[httpx.Request] = []

    def fail(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        raise error

    with httpx.Client(transport=httpx.MockTransport(fail)) as http, pytest.raises(ServiceFailed):
        _sent(http, "POST", "http://service/api/v1/runs", b"{}", "application/json")
    assert len(asked) == requests
