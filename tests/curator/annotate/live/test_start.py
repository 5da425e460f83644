"""`curator annotate start`, the command itself: it runs, keeps, moves on from busy ports, stops, and leaves nothing."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from curator.annotate.local_server.state import LocalServer, read_local_server, state_folder, write_local_server
from curator.annotate.previews.make import preview_folder
from curator.annotate.previews.serve import key_id
from curator.catalog import Catalog
from curator.secret_files import load_key
from tests.curator.annotate.live.browser import CHROMIUM, QUIET, Annotator
from tests.curator.annotate.live.conftest import MakeServer
from tests.curator.annotate.live.server import OWNER, Server, free_port, template

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
Started = Callable[..., "Running"]
REPOSITORY = Path(__file__).parents[4]
PATIENCE_S = 180


class Running:
    """The command as a process of its own, as a person starts it."""

    def __init__(self, catalog: Path, *options: str, **environment: str) -> None:
        self.catalog = catalog
        command = [sys.executable, "-m", "curator", "annotate", "start", "--catalog", str(catalog), "--json", *options]
        self.errors = catalog.with_suffix(".stderr")
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=REPOSITORY,
                env=os.environ | environment,
                start_new_session=True,
            )

    def ready(self, seconds: float = 240) -> dict[str, Any]:
        """What it prints once all runs."""
        assert self.process.stdout
        text, deadline = "", time.monotonic() + seconds
        while time.monotonic() < deadline:
            if select.select([self.process.stdout], [], [], 0.5)[0]:
                text += (piece := os.read(self.process.stdout.fileno(), 65536).decode())
                assert piece, f"ended: {self.errors.read_text()}"
                if text.rstrip().endswith("}"):
                    found: dict[str, Any] = json.loads(text)
                    return found
        raise AssertionError(f"not ready: {text} {self.errors.read_text()}")

    def children(self) -> list[int]:
        """The processes it started, and theirs."""
        found = [self.process.pid]
        for pid in found:
            found += [child for child in _processes() if _parent(child) == pid]
        return found[1:]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signals it alone, as a terminal or a service manager does; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def gone(pids: list[int]) -> bool:
    """Whether they all ended, within a while."""
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def get(url: str, token: str = "") -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"Token {token}"} if token else {})
    with _direct.open(request, timeout=60) as answer:
        return json.load(answer)


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """A catalog whose Label Studio has been set up before, but for the minute of migrations."""
    path = tmp_path / "lab.duckdb"
    Catalog.create(path).close()
    known = LocalServer(
        url=f"http://127.0.0.1:{free_port()}",
        images_url=f"http://127.0.0.1:{free_port()}",
        owner=OWNER.email,
        password=OWNER.password,
        token=OWNER.token,
    )
    write_local_server(path, known)
    shutil.copytree(template(), state_folder(path) / "data")
    return path


@pytest.fixture
def started(catalog: Path) -> Iterator[Started]:
    made: list[Running] = []

    def start(*options: str, **environment: str) -> Running:
        made.append(Running(catalog, *options, **environment))
        return made[-1]

    yield start
    for running in made:
        running.process.kill()
        running.process.wait(PATIENCE_S)
        assert running.process.stdout
        running.process.stdout.close()


def test_it_runs_stops_and_comes_back_with_its_data(catalog: Path, started: Started) -> None:
    running = started()
    told = running.ready()
    known = read_local_server(catalog)
    assert known and (told["url"], told["images_url"], told["owner"]) == (known.url, known.images_url, OWNER.email)
    assert get(f"{told['url']}/health")["status"] == "UP"
    assert get(f"{told['images_url']}/healthz")["key_id"] == key_id(load_key(preview_folder(catalog)))
    with _direct.open(told["sign_up_url"]) as page:
        assert b'name="password"' in page.read()
    with Catalog(catalog) as opened:  # people work, and the catalog is free for push and pull
        assert opened.dataset_names() == []
    children = running.children()
    assert children and OWNER.password not in running.errors.read_text()
    request = urllib.request.Request(
        f"{told['url']}/api/projects",
        data=json.dumps({"title": "kept"}).encode(),
        headers={"Authorization": f"Token {OWNER.token}", "Content-Type": "application/json"},
    )
    with _direct.open(request) as made:
        project = json.load(made)["id"]

    again = started()  # a second one, while it runs
    assert again.process.wait(PATIENCE_S) == 1 and f"runs already at {told['url']}" in again.errors.read_text()

    assert running.stop(signal.SIGINT) == 0
    assert gone(children)
    begun = time.monotonic()
    second = started()
    assert second.ready()["url"] == told["url"] and time.monotonic() - begun < 90
    assert get(f"{told['url']}/api/projects/{project}", OWNER.token)["title"] == "kept"
    children = second.children()
    assert second.stop(signal.SIGTERM) == 0 and gone(children)


def test_killed_it_leaves_nothing_running(started: Started) -> None:
    running = started()
    running.ready()
    children = running.children()
    running.stop(signal.SIGKILL)
    assert children and gone(children)


def test_interrupted_while_it_starts_it_leaves_nothing_running(catalog: Path, started: Started) -> None:
    running = started()
    deadline = time.monotonic() + 60
    while not running.children() and time.monotonic() < deadline:
        time.sleep(0.05)
    while not (state_folder(catalog) / "label-studio.log").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    children = running.children()
    assert children and running.stop(signal.SIGINT) == 130 and gone(children)
    assert "Interrupted" in running.errors.read_text()


def test_busy_ports(catalog: Path, started: Started) -> None:
    known = read_local_server(catalog)
    assert known
    with socket.socket() as studio:
        studio.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        studio.bind(("127.0.0.1", port_of(known.url)))
        studio.listen()
        asked = started("--port", str(port_of(known.url)))
        assert asked.process.wait(PATIENCE_S) == 1 and "another program listens there" in asked.errors.read_text()
        running = started()
        told = running.ready()
        assert port_of(told["url"]) != port_of(known.url) and "is in use" in told["notes"][0]
        assert told["images_url"] == known.images_url
        running.stop()


def test_label_studio_ending_by_itself_is_said(started: Started) -> None:
    running = started()
    running.ready()
    (child,) = running.children()
    os.kill(child, signal.SIGKILL)
    assert running.process.wait(PATIENCE_S) == 1
    assert "Label Studio ended by itself" in running.errors.read_text()


# Quiet


class Trap:
    """A proxy that lets nobody out and notes who tried: requests, urllib and Sentry go through HTTPS_PROXY."""

    def __init__(self) -> None:
        self.tried: list[str] = []
        self._listening = socket.socket()
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen()
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._catch, daemon=True).start()

    def environment(self) -> dict[str, str]:
        names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY")
        return dict.fromkeys(names, self.url) | {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}

    def close(self) -> None:
        self._listening.close()

    def _catch(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    self.tried.append(connection.recv(4096).decode(errors="replace").split("\r\n")[0])
                    connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                except OSError:
                    continue


@pytest.fixture
def trap() -> Iterator[Trap]:
    made = Trap()
    yield made
    made.close()


def connections_outside(pid: int) -> list[str]:
    """The far ends of a process's TCP connections that aren't on this machine."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
        except OSError:
            continue
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return [row[2] for row in rows if row[9] in inodes and not row[2].startswith(("0100007F:", "00000000:"))]


def use(server: Server) -> None:
    """What a day does: a version is asked for, a project made, a task annotated, an error met."""
    project = server.api("POST", "/api/projects", {"title": "quiet", "label_config": CHOICE})["id"]
    server.api("POST", f"/api/projects/{project}/import", [{"data": {"text": "fox"}}])
    task = server.api("GET", f"/api/tasks?project={project}")["tasks"][0]["id"]
    server.api("POST", f"/api/tasks/{task}/annotations/", {"result": []})
    assert server.request("GET", "/api/projects/9999")[0] == 404
    version = server.api("GET", "/api/version")
    assert version["label-studio-os-package"]["latest_version_from_pypi"] is None
    time.sleep(2)


CHOICE = '<View><Text name="t" value="$text"/><Choices name="c" toName="t"><Choice value="x"/></Choices></View>'


def test_it_asks_nobody_outside(make_server: MakeServer, trap: Trap) -> None:
    server = make_server(**trap.environment())
    use(server)
    assert server.process and trap.tried == []
    assert connections_outside(server.process.pid) == []


def test_the_trap_would_have_caught_it(make_server: MakeServer, trap: Trap) -> None:
    """The same with Label Studio's own defaults: it asks for its latest version. So the test above can fail."""
    server = make_server(**trap.environment(), LABEL_STUDIO_LATEST_VERSION_CHECK="true")
    deadline = time.monotonic() + 30
    while not trap.tried and time.monotonic() < deadline:
        server.request("GET", "/api/version")
        time.sleep(0.5)
    assert any("pypi" in line for line in trap.tried)


@pytest.mark.browser
def test_its_pages_ask_nobody_outside(server: Server) -> None:
    from playwright.sync_api import sync_playwright

    project = server.api("POST", "/api/projects", {"title": "pages", "label_config": CHOICE})["id"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=QUIET)
        annotator = Annotator(chromium, server, server.owner.email, server.owner.password, (1440, 900))
        for path in ["/projects", f"/projects/{project}/data", f"/projects/{project}/settings", "/organization"]:
            annotator.page.goto(f"{server.url}{path}")
            annotator.page.wait_for_timeout(2000)
        chromium.close()
    server.request("DELETE", f"/api/projects/{project}")
    assert annotator.outside == []
