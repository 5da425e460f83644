"""Connections on which no request comes are let go: whoever opens many and sends a byte now and then holds nothing up.

uvicorn ends a connection that is idle after a request, but waits for ever for the first one, and for the rest of one
whose head came in part. A body's pace is `guards`' to watch.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEAD_SECONDS = 20.0
Protocol: Any = AutoHTTPProtocol


class Patient(Protocol):  # type: ignore[misc]
    """uvicorn's protocol, with an end to waiting for a request's head."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """From here on a request is waited for."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """A request began, or there is a part of its head."""
        super().data_received(data)
        if self._is_waiting():
            self._wait()
        else:
            self._stop()

    def connection_lost(self, error: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop()
        super().connection_lost(error)

    def _is_waiting(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self._is_waiting() and not self.transport.is_closing():
            self.transport.close()
