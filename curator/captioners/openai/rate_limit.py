"""Limit requests and tokens a minute, and pause when the server asks for it.

Requests are spaced evenly, not in bursts, because the time windows of servers are unknown.
"""

from __future__ import annotations

import asyncio
import time

FIRST_ESTIMATE = 1000  # tokens of a request and its answer, until the first answer


class RateLimit:
    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        self.request_s = 60 / requests_per_minute if requests_per_minute else 0.0
        self.token_s = 60 / tokens_per_minute if tokens_per_minute else 0.0
        self._next_request = self._next_tokens = self._held_until = 0.0
        self._tokens, self._answers = 0, 0

    async def turn(self) -> int:
        """Wait until a request may be sent. Returns the tokens reserved for it, for `used`."""
        while True:
            estimate = self._tokens // self._answers if self._answers else FIRST_ESTIMATE
            start = max(time.monotonic(), self._next_request, self._next_tokens, self._held_until)
            self._next_request, self._next_tokens = start + self.request_s, start + estimate * self.token_s
            while (wait := start - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if self._held_until <= time.monotonic():
                return estimate
            self._next_tokens -= estimate * self.token_s  # a pause began meanwhile: reserve again after it

    def used(self, reserved: int, tokens: int) -> None:
        self._tokens, self._answers = self._tokens + tokens, self._answers + 1
        self._next_tokens += (tokens - reserved) * self.token_s

    def hold(self, seconds: float) -> None:
        self._held_until = max(self._held_until, time.monotonic() + seconds)
