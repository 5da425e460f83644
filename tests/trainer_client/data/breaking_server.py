"""A server of a folder that breaks on demand: cuts connections, changes bytes, knows no ranges, wants a token."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Breaking:
    """What it does to each answer, and what it was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token: str | None = None
        self.ranges = True
        self.cut: Callable[[str, int], int | None] = lambda path, asked: None
        """Bytes of a file to send before the connection breaks, for the nth time it is asked for; None: all."""
        self.change: Callable[[str, bytes], bytes] = lambda path, content: content
        self.status: Callable[[str, int], int] = lambda path, asked: 200
        self.asked: Counter[str] = Counter()
        self.starts: list[tuple[str, int]] = []
        self.sent_bytes = 0
        self.lock = threading.Lock()


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, Breaking]]:
    """Serves `folder` until the end: its address, and how it breaks."""
    state = Breaking(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Nothing."""

        def do_GET(self) -> None:
            path = self.path.lstrip("/")
            with state.lock:
                state.asked[path] += 1
                asked = state.asked[path]
            if state.token and self.headers.get("Authorization") != f"Bearer {state.token}":
                return self.refuse(401)
            if (status := state.status(path, asked)) != 200:
                return self.refuse(status)
            file = state.folder / path
            if not file.is_file():
                return self.refuse(404)
            return self.send(path, state.change(path, file.read_bytes()), asked)

        def refuse(self, status: int) -> None:
            body = b'{"title": "No", "detail": "There is no such thing here."}'
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def send(self, path: str, content: bytes, asked: int) -> None:
            start = 0
            match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if match and state.ranges:
                start = int(match[1])
                if start >= len(content):
                    return self.refuse(416)
            with state.lock:
                state.starts.append((path, start))
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            cut = state.cut(path, asked)
            piece = content[start:] if cut is None else content[start : start + cut]
            with state.lock:
                state.sent_bytes += len(piece)
            self.wfile.write(piece)
            if cut is not None and start + cut < len(content):
                self.close_connection = True
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
