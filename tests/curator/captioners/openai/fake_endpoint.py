"""An OpenAI-compatible endpoint on loopback that does what a test tells it, and remembers what it was asked."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image


@dataclass(frozen=True)
class Asked:
    """A request as the server saw it. `number` counts from 0, `picture` is what was sent."""

    number: int
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at_s: float

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The parts of the user's message."""
        return list(self.body["messages"][-1]["content"])

    @property
    def prompt(self) -> str:
        return str(self.parts[0]["text"])

    @property
    def picture(self) -> Image.Image:
        head, _, data = self.parts[1]["image_url"]["url"].partition(",")
        assert head == "data:image/jpeg;base64"
        return Image.open(io.BytesIO(base64.b64decode(data)))


@dataclass(frozen=True)
class Reply:
    """`body` as JSON, or bytes as they are; `after_s`: how late; `hangs_up`: the connection is dropped instead."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    after_s: float = 0.0
    hangs_up: bool = False


def says(text: str | None, finish: str = "stop", tokens: tuple[int, int] = (100, 10), **message: Any) -> Reply:
    """A chat completion."""
    answer = {"role": "assistant", "content": text, **message}
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
    choices = [{"index": 0, "message": answer, "finish_reason": finish}]
    return Reply(
        {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage}
    )


def fails(status: int, message: str = "no", headers: dict[str, str] | None = None, **error: Any) -> Reply:
    """An error as OpenAI writes it."""
    return Reply({"error": {"message": message, "type": "x", "code": None, **error}}, status, headers or {})


class Endpoint:
    """The server's memory: what it was asked, and how many requests it held at a time."""

    def __init__(self, respond: Callable[[Asked], Reply]) -> None:
        self.respond = respond
        self.asked: list[Asked] = []
        self.at_once = self.most_at_once = 0
        self.url = ""
        self._lock = threading.Lock()

    def take(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> Reply:
        with self._lock:
            asked = Asked(len(self.asked), path, headers, body, time.monotonic())
            self.asked.append(asked)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        reply = self.respond(asked)
        time.sleep(reply.after_s)
        with self._lock:
            self.at_once -= 1
        return reply


@contextmanager
def serving(respond: Callable[[Asked], Reply]) -> Iterator[Endpoint]:
    """The endpoint, running; its address is `url`."""
    endpoint = Endpoint(respond)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            reply = endpoint.take(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            if reply.hangs_up:
                self.close_connection = True
                return
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            try:
                self.send_response(reply.status)
                for name, value in {"content-type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                pass  # whoever asked has gone: time-outs and Ctrl-C are among the tests

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
