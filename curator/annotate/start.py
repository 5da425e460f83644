"""`curator annotate start`: a local Label Studio for one team and the server of its pictures, until they are stopped.

All it keeps lies in `<catalog>.label-studio` beside the catalog. The catalog itself isn't opened: push, pull and the
rest have it while people work.
"""

from __future__ import annotations

import fcntl
import re
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import uvicorn
from pydantic import BaseModel, Field

from curator.annotate.environment import NoLabelStudio, discard_environment, ensure_environment
from curator.annotate.images import app, preview_folder
from curator.annotate.process import (
    Account,
    LabelStudioProcess,
    check_database,
    free_port,
    is_busy,
    settings,
)
from curator.annotate.state import LocalServer, read_local_server, state_folder, write_local_server
from curator.person import user_name
from schemas.edge.address import address_of
from schemas.errors import AlreadyExists, BadOption, NotFound, PortBusy
from schemas.progress import Progress, silent

DEFAULT_PORT = 8080
LOCAL = "127.0.0.1"
EVERYWHERE = "0.0.0.0"
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StartResult(BaseModel):
    """What runs, and what to send whom."""

    url: str = Field(description="Label Studio.")
    owner: str
    password: str
    sign_up_url: str = Field(description="For annotators: each makes an account of their own.")
    images_url: str
    database: str = Field(description="SQLite, or PostgreSQL and where; without its password.")
    data_folder: str
    reachable: bool = Field(description="From other computers.")
    notes: list[str] = Field(description="What is other than asked or than last time, and what to do.")


@dataclass(frozen=True)
class Wish:
    """What the user asked for; None: what was last time, else the default."""

    host: str = LOCAL
    port: int | None = None
    images_port: int | None = None
    address: str | None = None
    database: str | None = None


def start(
    catalog_path: Path,
    wish: Wish,
    announce: Callable[[StartResult], None],
    progress: Progress = silent,
) -> None:
    """Runs until Ctrl-C or SIGTERM, then stops all it started and returns.

    Raises NotFound without a catalog, AlreadyExists where it runs already, PortBusy, NoLabelStudio, BadOption for a
    database URL or a service's; AmatlError where Label Studio ends by itself.
    """
    if url := address_of(catalog_path):
        raise BadOption(f"{url}: Label Studio is started on that machine, beside the catalog's file.")
    if not catalog_path.is_file():
        raise NotFound(f"{catalog_path}: there is no catalog here. Make one with: curator init {catalog_path}")
    folder = state_folder(catalog_path)
    with _only_one(folder, catalog_path), _signals_interrupt():
        known = read_local_server(catalog_path)
        server, notes = plan(wish, known)
        images_socket = _listen(wish.host, urlsplit(server.images_url).port or 0)
        with images_socket:
            program = ensure_environment(progress)
            studio = _start_label_studio(program, folder, server, wish.host, progress)
            try:
                write_local_server(catalog_path, server)
                with _serving(catalog_path, images_socket) as images:
                    invitation = studio.get("/api/invite")["invite_url"]
                    announce(_result(server, invitation, folder, wish, notes))
                    _watch(studio, images)
            finally:
                _ignore_signals()
                studio.stop()


def plan(wish: Wish, known: LocalServer | None) -> tuple[LocalServer, list[str]]:
    """Where things go this time, and what there is to say about it. Raises PortBusy, BadOption."""
    notes: list[str] = []
    address = wish.address or (_own_address() if wish.host == EVERYWHERE else wish.host)
    port = _studio_port(wish, known, notes)
    images_port = _images_port(wish, known, port)
    database = known.database if known and wish.database is None else wish.database
    database = None if database == "sqlite" else database
    if database:
        check_database(database)
    server = LocalServer(
        url=f"http://{address}:{port}",
        images_url=f"http://{address}:{images_port}",
        owner=known.owner if known else _owner(),
        password=known.password if known else secrets.token_urlsafe(12),
        token=known.token if known else secrets.token_hex(20),
        database=database,
    )
    if known and known.images_url != server.images_url:
        notes.append(
            f"Pictures were served at {known.images_url} before: what was pushed then is blank until you push again."
        )
    return server, notes


def account(result: StartResult) -> str:
    """The result for a person."""
    lines = [
        f"Label Studio runs at {result.url}",
        f"  login     {result.owner}",
        f"  password  {result.password}",
        f"  pictures  {result.images_url}",
        f"  data      {result.data_folder}, {result.database}",
        "",
        "Annotators sign up here, each with an account of their own:",
        f"  {result.sign_up_url}",
        "",
    ]
    if not result.reachable:
        lines.append("Only this computer reaches it. For a team: --host 0.0.0.0")
    lines += result.notes
    lines.append("Next: curator annotate push DATASET --set SET --to human     Ctrl-C stops; everything is kept.")
    return "\n".join(lines)


def _start_label_studio(
    program: Path, folder: Path, server: LocalServer, host: str, progress: Progress
) -> LabelStudioProcess:
    """Ready, or ended and an error. An environment that lacks modules is made anew, once."""
    try:
        return _launch(program, folder, server, host, progress)
    except BrokenEnvironment:
        if not discard_environment():
            raise
    return _launch(ensure_environment(progress), folder, server, host, progress)


class BrokenEnvironment(NoLabelStudio):
    """Label Studio's environment lacks modules."""


def _launch(program: Path, folder: Path, server: LocalServer, host: str, progress: Progress) -> LabelStudioProcess:
    log = folder / "label-studio.log"
    if log.exists():
        log.replace(log.with_suffix(".log.old"))
    login = Account(server.owner, server.password, server.token)
    told = settings(folder / "data", server.url, login, server.database)
    studio = LabelStudioProcess(program, told, host, urlsplit(server.url).port or 0, log)
    try:
        studio.wait(progress=progress)
    except BaseException as error:
        studio.stop()
        if isinstance(error, NoLabelStudio) and studio.lacks_a_module():
            raise BrokenEnvironment(str(error)) from error
        raise
    return studio


@contextmanager
def _serving(catalog_path: Path, listening: socket.socket) -> Iterator[threading.Thread]:
    """The image server, in a thread of ours."""
    config = uvicorn.Config(
        app(preview_folder(catalog_path)), log_level="warning", access_log=False, lifespan="off", server_header=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="images")
    thread.start()
    try:
        yield thread
    finally:
        server.should_exit = True
        server.force_exit = True  # an open connection of a browser doesn't hold us up
        thread.join(5)


def _watch(studio: LabelStudioProcess, images: threading.Thread) -> None:
    """Returns on Ctrl-C and the like; raises NoLabelStudio where one of the two ended by itself."""
    try:
        while studio.running and images.is_alive():
            time.sleep(0.5)
    except KeyboardInterrupt:
        return
    if studio.running:
        raise NoLabelStudio("The server of the pictures ended by itself. Start again: everything is kept.")
    raise NoLabelStudio(f"Label Studio ended by itself; see {studio.log}. Start again: everything is kept.")


def _studio_port(wish: Wish, known: LocalServer | None, notes: list[str]) -> int:
    if wish.port is not None:
        if is_busy(wish.port, wish.host):
            raise PortBusy(f"--port {wish.port}: another program listens there. Choose another one, or leave it out.")
        return wish.port
    wanted = (urlsplit(known.url).port if known else None) or DEFAULT_PORT
    found = free_port(wanted, wish.host)
    if found != wanted:
        notes.append(f"Port {wanted} is in use by another program, so Label Studio took {found}.")
    return found


def _images_port(wish: Wish, known: LocalServer | None, studio_port: int) -> int:
    """The same as ever: tasks hold their pictures' addresses."""
    if wish.images_port is not None:
        if wish.images_port == studio_port or is_busy(wish.images_port, wish.host):
            raise PortBusy(f"--images-port {wish.images_port}: in use. Choose another one.")
        return wish.images_port
    if not known:
        return free_port(studio_port + 1, wish.host)
    before = urlsplit(known.images_url).port or 0
    if before == studio_port or is_busy(before, wish.host):
        raise PortBusy(
            f"Port {before}, where tasks look for their pictures, is in use. Stop what listens there, or move them "
            f"with --images-port {free_port(max(before, studio_port) + 1, wish.host)} and push again."
        )
    return before


def _listen(host: str, port: int) -> socket.socket:
    """Taken here and now, so that nobody else gets the port while Label Studio starts."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise PortBusy(f"--host {host}, port {port}: {error.strerror}. Choose another one.") from error
    return listening


def _own_address() -> str:
    """This computer's address in its network; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 1))
            return str(probe.getsockname()[0])
        except OSError:
            return LOCAL


def _owner() -> str:
    """A login for whoever starts it: an address, since Label Studio wants one; mail is never sent."""
    name = re.sub(r"[^a-z0-9._-]+", "-", user_name().lower()).strip("-.") or "owner"
    return f"{name}@amatl.local"


def _result(server: LocalServer, invitation: str, folder: Path, wish: Wish, notes: list[str]) -> StartResult:
    database = "SQLite"
    if server.database:
        parts = urlsplit(server.database)
        database = f"PostgreSQL at {parts.hostname}:{parts.port or 5432}{parts.path}"
    return StartResult(
        url=server.url,
        owner=server.owner,
        password=server.password,
        sign_up_url=f"{server.url}{invitation}",
        images_url=server.images_url,
        database=database,
        data_folder=str(folder),
        reachable=wish.host != LOCAL,
        notes=notes,
    )


@contextmanager
def _only_one(folder: Path, catalog_path: Path) -> Iterator[None]:
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            known = read_local_server(catalog_path)
            where = f" at {known.url}" if known else ""
            raise AlreadyExists(
                f"The Label Studio of {catalog_path} runs already{where}. Stop that one first."
            ) from error
        yield


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """SIGTERM and a closed terminal stop us like Ctrl-C does."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    """While stopping: an impatient second Ctrl-C must not leave anything behind."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
