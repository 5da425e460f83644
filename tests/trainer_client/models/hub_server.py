"""A Hugging Face hub of one model, as far as its client asks for it, which fails on demand."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ANSWERS: dict[str, tuple[int, dict[str, str]]] = {  # Each with the headers that the client tells refusals by.
    "no such model": (401, {"X-Error-Code": "RepoNotFound"}),
    "deleted": (404, {"X-Error-Code": "RepoNotFound"}),
    "no such revision": (404, {"X-Error-Code": "RevisionNotFound"}),
    "no such file": (404, {"X-Error-Code": "EntryNotFound"}),
    "gated": (403, {"X-Error-Code": "GatedRepo"}),
    "wrong token": (401, {"X-Error-Message": "Invalid credentials in Authorization header"}),
    "disabled": (403, {"X-Error-Message": "Access to this resource is disabled."}),
    "broken": (500, {}),
    "busy": (429, {"Retry-After": "30"}),
}


class Hub:
    """`answer` is one of ANSWERS, "hangs", or None: the model's files are served."""

    def __init__(self) -> None:
        self.answer: str | None = None
        self.asked: list[str] = []
        self.over = threading.Event()


@contextmanager
def serving(folder: Path, name: str) -> Iterator[tuple[str, Hub]]:
    """Serves a folder as the model `name` until the end: the hub's address, and what it answers."""
    state = Hub()
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Nothing."""

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, with_body: bool) -> None:
            path = self.path.partition("?")[0].lstrip("/")
            if name not in path:  # What the client looks up beside.
                return self.send(404, {}, b"")
            state.asked.append(f"{self.command} {path}")
            if state.answer == "hangs":
                state.over.wait(600)
                return self.send(503, {}, b"")
            if state.answer is not None:
                return self.send(*ANSWERS[state.answer], b"")
            if path.startswith(f"api/models/{name}"):
                return self.send(200, {"Content-Type": "application/json"}, self.described(path))
            content = files[path.split("/", 4)[4]].read_bytes()
            etag = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            return self.send(200, etag, content, with_body)

        def described(self, path: str) -> bytes:
            if "/tree/" in path:
                sizes = [
                    {"type": "file", "path": file, "size": place.stat().st_size, "oid": "0" * 40}
                    for file, place in files.items()
                ]
                return json.dumps(sizes).encode()
            siblings = [{"rfilename": file} for file in files]
            return json.dumps({"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings}).encode()

        def send(self, status: int, headers: dict[str, str], body: bytes, with_body: bool = True) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if with_body and self.command == "GET":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", state
    finally:
        state.over.set()
        server.shutdown()
        server.server_close()
