"""A proxy that breaks things between us and a real server: drops, delays, wrong answers, late arrivals.

`Proxy(server.url)` forwards everything; `proxy.fail(kind, "POST", "/import", times=1)` has the next matching requests
go wrong. Kinds:

    drop        the connection ends before anything is forwarded
    half        half of the body is forwarded, then both connections end
    lost        forwarded; the connection ends without the answer
    slow        forwarded; the answer comes after `seconds`
    late        forwarded only after `seconds`, when nobody waits any more
    500, ...    answered with this status, not forwarded
    500-after   forwarded, and answered with this status all the same
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit


@dataclass
class Fault:
    """What goes wrong, with which requests, how often still."""

    kind: str
    method: str
    path: str
    times: int
    seconds: float


class Proxy:
    """Listens on a free port of this machine; a context manager."""

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target)
        self.faults: list[Fault] = []
        self.seen: list[str] = []
        self.late: list[threading.Thread] = []
        self._lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for thread in self.late:
            thread.join()
        self._server.shutdown()
        self._server.server_close()

    def fail(self, kind: str, method: str, path: str, times: int = 1, seconds: float = 0.0) -> None:
        """Has the next `times` requests of this method whose path contains `path` go wrong."""
        self.faults.append(Fault(kind, method, path, times, seconds))

    def fault(self, method: str, path: str) -> Fault | None:
        """The fault of a request, used up by it."""
        with self._lock:
            self.seen.append(f"{method} {path}")
            for fault in self.faults:
                if fault.times and fault.method == method and fault.path in path:
                    fault.times -= 1
                    return fault
        return None

    def forward(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Asks the server."""
        assert self.target.hostname
        connection = http.client.HTTPConnection(self.target.hostname, self.target.port, timeout=120)
        try:
            connection.request(method, path, body, {name: value for name, value in headers.items() if name != "Host"})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def forward_half(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        """As if the client's machine had died."""
        assert self.target.hostname
        connection = http.client.HTTPConnection(self.target.hostname, self.target.port, timeout=120)
        connection.putrequest(method, path)
        for name, value in headers.items():
            if name != "Host":
                connection.putheader(name, value)
        connection.endheaders(body[: len(body) // 2])
        time.sleep(0.1)
        connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        return  # a client that went away is what is tested


class _Handler(BaseHTTPRequestHandler):
    owner: Proxy
    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        fault = self.owner.fault(self.command, self.path)
        kind = fault.kind if fault else ""
        if fault and kind == "late":
            self._forward_late(body, fault.seconds)
        if kind == "half":
            self.owner.forward_half(self.command, self.path, dict(self.headers), body)
        if kind in ("drop", "half", "late"):
            if kind == "late" and fault:
                time.sleep(fault.seconds)
            self.close_connection = True
            return
        if kind.isdigit():
            self._answer(int(kind), {}, json.dumps({"detail": "broken on purpose", "status_code": int(kind)}).encode())
            return
        status, headers, content = self.owner.forward(self.command, self.path, dict(self.headers), body)
        if kind == "lost":
            self.close_connection = True
            return
        if fault and kind == "slow":
            time.sleep(fault.seconds)
        if kind.endswith("-after"):
            status, headers, content = int(kind.removesuffix("-after")), {}, b"{}"
        self._answer(status, headers, content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any

    def _forward_late(self, body: bytes, seconds: float) -> None:
        command, path, headers = self.command, self.path, dict(self.headers)

        def later() -> None:
            time.sleep(seconds)
            self.owner.forward(command, path, headers, body)

        thread = threading.Thread(target=later)
        self.owner.late.append(thread)
        thread.start()

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() in ("content-type", "retry-after"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        return
