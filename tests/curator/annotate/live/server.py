"""A real Label Studio for tests: a data directory migrated once, copied for each server, each on a free port.

The environment is the one `curator annotate start` uses, made if missing. The migrated template is kept in it, so that
only the first test session ever pays for the migrations.
"""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from hashlib import sha256
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, Self

from curator.annotate.local_server.environment import VERSION, ensure_environment
from curator.annotate.local_server.process import Account, LabelStudioProcess, settings

OWNER = Account("owner@example.org", "owner-password-1", "0123456789abcdef0123456789abcdef01234567")


@dataclass(frozen=True)
class Annotator:
    """A person who signed up."""

    id: int
    email: str
    password: str
    token: str


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Server:
    """One Label Studio on a copy of the template. `stop` and `start` again keep its data and its port."""

    def __init__(self, folder: Path, template: Path) -> None:
        """`folder`: where its data goes; must not exist."""
        shutil.copytree(template, folder)
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.owner = OWNER
        self.token = OWNER.token
        self.log = folder / "server.log"
        self.process: LabelStudioProcess | None = None

    def start(self, **environment: str) -> Self:
        """Starts it with these settings on top, and returns when it is ready."""
        told = settings(self.folder, self.url, OWNER) | environment
        self.process = LabelStudioProcess(ensure_environment(), told, "127.0.0.1", self.port, self.log)
        try:
            self.process.wait(180)
        except BaseException:
            self.process.stop()
            raise
        return self

    def stop(self) -> None:
        """Ends it; nothing of it is left running."""
        if self.process:
            self.process.stop()

    def api(self, method: str, path: str, body: Any = None, token: str | None = None) -> Any:
        """One request of the API as the owner, or with another token; the decoded answer, None where it is empty.

        Raises AssertionError with the answer's text where it isn't 2xx.
        """
        status, text = self.request(method, path, body, token)
        assert 200 <= status < 300, f"{method} {path}: {status} {text[:2000]}"
        return json.loads(text) if text else None

    def request(self, method: str, path: str, body: Any = None, token: str | None = None) -> tuple[int, str]:
        """Like `api`, but any status: (status, text)."""
        request = urllib.request.Request(
            f"{self.url}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Token {token or self.token}", "Content-Type": "application/json"},
            method=method,
        )
        try:
            with _direct.open(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(errors="replace")

    def add_annotator(self, email: str, password: str = "annotator-password-1") -> Annotator:
        """A second person, who signs up by the link that `annotate start` prints."""
        return self.sign_up(self.api("GET", "/api/invite")["invite_url"], email, password)

    def sign_up(self, invitation: str, email: str, password: str) -> Annotator:
        """The form behind a sign-up link. Raises urllib.error.HTTPError where it is refused."""
        cookies = CookieJar()
        browser = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(cookies)
        )
        browser.open(f"{self.url}{invitation}", timeout=60).close()
        form = {
            "csrfmiddlewaretoken": next(cookie.value for cookie in cookies if cookie.name == "csrftoken"),
            "email": email,
            "password": password,
        }
        encoded = urllib.parse.urlencode(form).encode()
        browser.open(f"{self.url}{invitation}", encoded, timeout=60).close()
        with browser.open(f"{self.url}/api/current-user/token", timeout=60) as answer:
            token = json.load(answer)["token"]
        found = self.api("GET", "/api/current-user/whoami", token=token)
        assert found["email"] == email
        return Annotator(found["id"], email, password, token)


def template() -> Path:
    """A data directory with every migration applied and the owner in it; made at the first call ever."""
    program = ensure_environment()
    told = settings(Path("/template"), "http://127.0.0.1", OWNER)
    ours = sorted((name, value) for name, value in told.items() if name.startswith("LABEL_STUDIO"))
    digest = sha256(json.dumps([VERSION, ours]).encode()).hexdigest()[:12]
    ready = program.parent.parent / "amatl-test-templates" / digest
    if not ready.is_dir():
        ready.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=ready.parent) as folder:
            data = Path(folder) / "data"
            data.mkdir()
            _migrate(program, data)
            if not ready.is_dir():
                data.rename(ready)
    return ready


def _migrate(program: Path, data: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = LabelStudioProcess(program, settings(data, url, OWNER), "127.0.0.1", port, data / "server.log")
    try:
        process.wait(600)
    finally:
        process.stop()


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
