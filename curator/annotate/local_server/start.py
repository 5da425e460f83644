"""Start a local Label Studio for one team and the server of its previews, and run until stopped (`annotate start`).

Everything it keeps is in `<catalog>.label-studio` beside the catalog. The catalog itself isn't opened: push, pull and
other commands use it while people work.
"""

from __future__ import annotations

import re
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import uvicorn
from pydantic import BaseModel, Field

from curator.annotate.local_server.environment import NoLabelStudio, discard_environment, ensure_environment
from curator.annotate.local_server.ports import LOCAL, Wish, images_port, listen, own_address, studio_port
from curator.annotate.local_server.process import (
    Account,
    LabelStudioProcess,
    check_database,
    settings,
)
from curator.annotate.local_server.state import LocalServer, read_local_server, state_folder, write_local_server
from curator.annotate.previews.make import preview_folder
from curator.annotate.previews.serve import app
from curator.person import user_name
from schemas.edge.address import address_of
from schemas.edge.lock import only_process
from schemas.errors import AlreadyExists, BadOption, NotFound
from schemas.progress import Progress, silent

EVERYWHERE = "0.0.0.0"
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StartResult(BaseModel):
    """The addresses and logins of what runs."""

    url: str = Field(description="Label Studio.")
    owner: str
    password: str
    sign_up_url: str = Field(description="For annotators: each makes an account of their own.")
    images_url: str
    database: str = Field(description="SQLite, or PostgreSQL and where; without its password.")
    data_folder: str
    reachable: bool = Field(description="From other computers.")
    notes: list[str] = Field(description="What is other than asked or than last time, and what to do.")


def start(
    catalog_path: Path,
    wish: Wish,
    announce: Callable[[StartResult], None],
    progress: Progress = silent,
) -> None:
    """Run until Ctrl-C or SIGTERM, then stop everything it started and return.

    Raise NotFound without a catalog, AlreadyExists if it runs already, PortBusy, NoLabelStudio (also if Label Studio
    ends by itself), BadOption for a wrong database URL or the catalog of a service.
    """
    if url := address_of(catalog_path):
        raise BadOption(f"{url}: Label Studio is started on that machine, beside the catalog's file.")
    if not catalog_path.is_file():
        raise NotFound(f"{catalog_path}: there is no catalog here. Make one with: curator init {catalog_path}")
    folder = state_folder(catalog_path)
    with only_process(folder / "lock", lambda: _runs_already(catalog_path)), _signals_interrupt():
        known = read_local_server(catalog_path)
        server, notes = plan(wish, known)
        images_socket = listen(wish.host, urlsplit(server.images_url).port or 0)
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
    """Return this start's addresses and secrets, and notes for the user. Raise PortBusy, BadOption."""
    notes: list[str] = []
    address = wish.address or (own_address() if wish.host == EVERYWHERE else wish.host)
    port = studio_port(wish, known, notes)
    previews_port = images_port(wish, known, port)
    database = known.database if known and wish.database is None else wish.database
    database = None if database == "sqlite" else database
    if database:
        check_database(database)
    server = LocalServer(
        url=f"http://{address}:{port}",
        images_url=f"http://{address}:{previews_port}",
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
    """Return the result as text."""
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
    lines += ["Ctrl-C stops; everything is kept. In another terminal:"]
    lines += ["Next: curator annotate push DATASET --set SET --to human"]
    return "\n".join(lines)


def _start_label_studio(
    program: Path, folder: Path, server: LocalServer, host: str, progress: Progress
) -> LabelStudioProcess:
    """Start Label Studio and wait until it is ready. Make an environment that lacks modules anew, once."""
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
    """Serve the previews in a thread."""
    config = uvicorn.Config(
        app(preview_folder(catalog_path)), log_level="warning", access_log=False, lifespan="off", server_header=False
    )
    server = uvicorn.Server(config)
    listening.listen()  # From now on: whoever connects before the thread is ready waits and isn't refused.
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="images")
    thread.start()
    try:
        yield thread
    finally:
        server.should_exit = True
        server.force_exit = True  # an open connection of a browser doesn't hold us up
        thread.join(5)


def _watch(studio: LabelStudioProcess, images: threading.Thread) -> None:
    """Wait for Ctrl-C or a signal. Raise NoLabelStudio if either server ends by itself."""
    try:
        while studio.running and images.is_alive():
            time.sleep(0.5)
    except KeyboardInterrupt:
        return
    if studio.running:
        raise NoLabelStudio("The server of the previews ended by itself. Start again: everything is kept.")
    raise NoLabelStudio(f"Label Studio ended by itself; see {studio.log}. Start again: everything is kept.")


def _owner() -> str:
    """Return the owner's login. Label Studio wants a mail address; no mail is sent to it."""
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


def _runs_already(catalog_path: Path) -> AlreadyExists:
    known = read_local_server(catalog_path)
    where = f" at {known.url}" if known else ""
    return AlreadyExists(f"The Label Studio of {catalog_path} runs already{where}. Stop that one first.")


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Make SIGTERM and a closed terminal stop us as Ctrl-C does."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    """Ignore further signals while stopping: a second Ctrl-C must leave nothing behind."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
