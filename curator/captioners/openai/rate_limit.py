"""How fast to ask: so many requests and tokens a minute, and not at all while the server wants to be left alone.

Requests are spaced evenly instead of in bursts: servers count over windows that nobody tells.
"""

from __future__ import annotations

import asyncio
import time

TOKENS_GUESSED = 1000  # of an answer and its question, until one is known


class Pace:
    """Shared by all requests of one event loop. None: no limit."""

    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        self.request_s = 60 / requests_per_minute if requests_per_minute else 0.0
        self.token_s = 60 / tokens_per_minute if tokens_per_minute else 0.0
        self._next_request = self._next_tokens = self._held_until = 0.0
        self._tokens, self._answers = 0, 0

    async def turn(self) -> int:
        """Waits until a request may go; returns the tokens set aside for it, for `used`."""
        while True:
            guess = self._tokens // self._answers if self._answers else TOKENS_GUESSED
            start = max(time.monotonic(), self._next_request, self._next_tokens, self._held_until)
            self._next_request, self._next_tokens = start + self.request_s, start + guess * self.token_s
            while (wait := start - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if self._held_until <= time.monotonic():
                return guess
            self._next_tokens -= guess * self.token_s  # held meanwhile: not all at once after it

    def used(self, set_aside: int, tokens: int) -> None:
        """What the request really took."""
        self._tokens, self._answers = self._tokens + tokens, self._answers + 1
        self._next_tokens += (tokens - set_aside) * self.token_s

    def hold(self, seconds: float) -> None:
        """Nothing is asked for so long."""
        self._held_until = max(self._held_until, time.monotonic() + seconds)
