"""The stage `serve`: one process that holds the catalog, until it is told to stop.

It listens on TCP, for pages and programs, and on a Unix socket of mode 0600 in its data folder, for this user's command
line. A lock in that folder makes it the only one, so that a socket found there is what a killed one left. At a signal
its jobs are interrupted first, while it still answers them; then it ends what is in hand and closes the catalog.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, Field

from curator.catalog import Catalog
from curator.catalog.remote import address_file
from curator.catalog.working_copy import warm
from curator.person import user_name
from curator.secret_files import write_secret
from curator.server.access import LOOPBACK
from curator.server.access_tokens import tokens
from curator.server.app import create_app
from curator.server.logs import LogFormat, configure
from curator.server.settings import DEFAULT_PORT, Settings
from curator.server.slow_clients import Patient
from schemas.edge.address import address_of
from schemas.edge.lock import only_process
from schemas.errors import AlreadyExists, AmatlError, BadOption, NotFound, PortBusy

# What fits an address of a Unix socket on every system; Linux takes 107 bytes, macOS 103.
MAX_SOCKET_PATH_BYTES = 100
GRACE_SECONDS = 10
# Longer than a client keeps an idle connection: else a request might meet one that is being closed.
KEEP_ALIVE_SECONDS = 75
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ServeResult(BaseModel):
    """Where a service is, and who may use it."""

    url: str
    catalog: str
    socket: str = Field(description="Where this user's command line reaches it; it finds that by itself.")
    token_needed: bool = Field(description="False on loopback: whoever is on this machine may.")
    data_folder: str


@dataclass(frozen=True)
class Wish:
    """What the user asked for."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    public_url: str | None = None
    allowed_folders: tuple[Path, ...] = ()
    require_token: bool = False
    log_format: LogFormat = "text"


def serve(catalog_path: Path, wish: Wish, announce: Callable[[ServeResult], None], program: click.Group) -> None:
    """Run until Ctrl-C or SIGTERM. `program` is the command line whose commands may be jobs.

    Raises NotFound without a catalog, AlreadyExists where a service has it, CatalogLocked where another process has,
    PortBusy, BadOption (also for a service's URL), AmatlError where other machines could reach it and there is no
    token yet.
    """
    if url := address_of(catalog_path):
        raise BadOption(f"{url}: a service is started on the machine of its catalog. Of one here: --catalog FILE")
    if not catalog_path.is_file():
        raise NotFound(f"{catalog_path}: there is no catalog here. Make one with: curator init {catalog_path}")
    settings = settings_of(catalog_path, wish)
    configure(wish.log_format)
    with _only_one(settings), Catalog(catalog_path) as catalog:
        if settings.require_token and not any(token.holds for token in tokens(catalog).tokens):
            raise AmatlError(
                f"--host {settings.host}: others could reach this catalog, and nobody has a token yet. Make one first: "
                f"curator token add {user_name()} --scope write --catalog {settings.catalog_path}"
            )
        with _listening(settings.host, settings.port) as tcp, _unix_listening(settings.data) as unix:
            port, socket_path = tcp.getsockname()[1], Path(unix.getsockname())
            settings = replace(settings, port=port, socket_path=socket_path)
            app = create_app(catalog, settings, program)
            with _address_noted(settings):
                asyncio.run(_run(app, [tcp, unix], lambda: _started(catalog, settings, announce)))


def settings_of(catalog_path: Path, wish: Wish) -> Settings:
    """The settings of a wish. Raises BadOption for a public URL that is none, or a folder that isn't there."""
    on_loopback = wish.host in LOOPBACK
    if wish.public_url is not None and not address_of(wish.public_url):
        raise BadOption(f"--public-url {wish.public_url}: give it whole, such as https://lab.example.org")
    for folder in wish.allowed_folders:
        if not folder.is_dir():
            raise BadOption(f"--allow {folder}: there is no such folder.")
    folders = tuple(folder.resolve() for folder in wish.allowed_folders)
    token = wish.require_token or not on_loopback
    return Settings(
        catalog_path=catalog_path.resolve(),
        host=wish.host,
        port=wish.port,
        require_token=token,
        public_url=wish.public_url,
        allowed_folders=None if not token and not folders else folders,
    )


def account(result: ServeResult) -> str:
    who = "with a token (curator token add PERSON)" if result.token_needed else "whoever is on this machine"
    return (
        f"{result.catalog} is served at {result.url}\n"
        f"  access  {who}\n"
        f"  data    {result.data_folder}\n"
        "Commands on this machine go through it by themselves. Ctrl-C stops it."
    )


def _started(catalog: Catalog, settings: Settings, announce: Callable[[ServeResult], None]) -> None:
    """Says so; and has the first page of a large dataset not be the one that waits.

    No daemon: one that has the catalog in hand while Python ends makes DuckDB complain of a leak. It ends with the
    catalog.
    """
    announce(_result(settings))
    threading.Thread(target=warm, args=(catalog,), name="warm").start()


def _result(settings: Settings) -> ServeResult:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return ServeResult(
        url=settings.public_url or f"http://{host}:{settings.port}",
        catalog=str(settings.catalog_path),
        socket=str(settings.socket_path),
        token_needed=settings.require_token,
        data_folder=str(settings.data),
    )


async def _run(app: FastAPI, sockets: list[socket.socket], started: Callable[[], None]) -> None:
    """Serves until a signal, then stops in order; a second signal doesn't wait."""
    server = _server(app, started)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def heard() -> None:
        server.force_exit = stop.is_set()
        stop.set()

    for number in STOPPING:
        loop.add_signal_handler(number, heard)
    serving = asyncio.ensure_future(server.serve(sockets))
    waiting = asyncio.ensure_future(stop.wait())
    await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    await asyncio.to_thread(app.state.jobs.stop, GRACE_SECONDS)
    server.should_exit = True
    await serving


def _server(app: FastAPI, started: Callable[[], None]) -> uvicorn.Server:
    class Server(uvicorn.Server):
        """One that leaves signals to us, and says when it listens."""

        def capture_signals(self) -> Any:
            return nullcontext()

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started()

    return Server(
        uvicorn.Config(
            app,
            http=Patient,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    def busy() -> AlreadyExists:
        where = _known_url(settings.catalog_path)
        return AlreadyExists(f"{settings.catalog_path} is served already{where}. Stop that one first.")

    with only_process(settings.data / "lock", busy):
        yield


def _known_url(catalog_path: Path) -> str:
    try:
        return f" at {json.loads(address_file(catalog_path).read_bytes())['url']}"
    except (OSError, ValueError, KeyError):
        return ""


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A TCP socket, bound. Raises PortBusy, BadOption for a host that isn't this machine's."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise BadOption(f"--host {host}: not an address of this machine ({error.strerror}).") from error
    with socket.socket(family, kind, protocol) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
            # Here and now: another process may have bound the same port without listening yet.
            listening.listen()
        except OSError as error:
            raise PortBusy(f"--host {host} --port {port}: {error.strerror}. Choose another one with --port.") from error
        yield listening


@contextmanager
def _unix_listening(folder: Path) -> Iterator[socket.socket]:
    """The socket in the data folder, which is its owner's alone; where that path is too long, in a private folder."""
    path, elsewhere = folder / "socket", None
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        elsewhere = Path(tempfile.mkdtemp(prefix="amatl-"))
        path = elsewhere / "socket"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        try:
            listening.bind(str(path))
            path.chmod(0o600)
            listening.listen()
            yield listening
        finally:
            path.unlink(missing_ok=True)
            if elsewhere:
                shutil.rmtree(elsewhere, ignore_errors=True)


@contextmanager
def _address_noted(settings: Settings) -> Iterator[None]:
    """Where the command line finds the service while it runs."""
    path = address_file(settings.catalog_path)
    known = {"socket": str(settings.socket_path), "url": _result(settings).url, "pid": os.getpid()}
    write_secret(path, json.dumps(known).encode())
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
