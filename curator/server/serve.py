"""The stage `serve`: hold the catalog until told to stop.

It listens on TCP, and on a Unix socket of mode 0600 for this user's command line. A lock ensures a single service, so
an existing socket is stale. On a signal it interrupts its jobs, finishes open requests and closes the catalog.
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
from curator.server.slow_clients import HeadTimeout
from schemas.edge.address import address_of
from schemas.edge.lock import only_process
from schemas.errors import AlreadyExists, AmatlError, BadOption, NotFound, PortBusy

# The limit for a Unix socket's path is 107 bytes on Linux, 103 on macOS.
MAX_SOCKET_PATH_BYTES = 100
GRACE_SECONDS = 10
# Longer than clients keep idle connections; otherwise a request could hit a connection that is being closed.
KEEP_ALIVE_SECONDS = 75
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ServeResult(BaseModel):
    url: str
    catalog: str
    socket: str = Field(description="The socket that this user's command line finds and uses.")
    token_needed: bool = Field(description="False on loopback: anyone on this machine has access.")
    data_folder: str


@dataclass(frozen=True)
class ServeOptions:
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    public_url: str | None = None
    allowed_folders: tuple[Path, ...] = ()
    require_token: bool = False
    log_format: LogFormat = "text"


def serve(
    catalog_path: Path, options: ServeOptions, announce: Callable[[ServeResult], None], program: click.Group
) -> None:
    """Run until Ctrl-C or SIGTERM. `program` is the command line whose commands may run as jobs.

    Raises NotFound, AlreadyExists if it is served already, CatalogLocked, PortBusy, BadOption (also for a service's
    URL), AmatlError if other machines could connect but no token exists.
    """
    if url := address_of(catalog_path):
        raise BadOption(f"{url}: start a service on the machine that has the catalog. For a local one: --catalog FILE")
    if not catalog_path.is_file():
        raise NotFound(f"{catalog_path}: no such catalog. Make one with: curator init {catalog_path}")
    settings = settings_of(catalog_path, options)
    configure(options.log_format)
    with _locked(settings), Catalog(catalog_path) as catalog:
        if settings.require_token and not any(token.holds for token in tokens(catalog).tokens):
            raise AmatlError(
                f"--host {settings.host}: other machines could reach this catalog, but there is no token yet. Run: "
                f"curator token add {user_name()} --scope write --catalog {settings.catalog_path}"
            )
        with _listening(settings.host, settings.port) as tcp, _unix_listening(settings.data) as unix:
            port, socket_path = tcp.getsockname()[1], Path(unix.getsockname())
            settings = replace(settings, port=port, socket_path=socket_path)
            app = create_app(catalog, settings, program)
            with _published_address(settings):
                asyncio.run(_run(app, [tcp, unix], lambda: _announce(catalog, settings, announce)))


def settings_of(catalog_path: Path, options: ServeOptions) -> Settings:
    """Raise BadOption for an invalid public URL or a missing folder."""
    on_loopback = options.host in LOOPBACK
    if options.public_url is not None and not address_of(options.public_url):
        raise BadOption(f"--public-url {options.public_url}: give the full URL, such as https://lab.example.org")
    for folder in options.allowed_folders:
        if not folder.is_dir():
            raise BadOption(f"--allow {folder}: no such folder.")
    folders = tuple(folder.resolve() for folder in options.allowed_folders)
    token = options.require_token or not on_loopback
    return Settings(
        catalog_path=catalog_path.resolve(),
        host=options.host,
        port=options.port,
        require_token=token,
        public_url=options.public_url,
        allowed_folders=None if not token and not folders else folders,
    )


def text_of_serve(result: ServeResult) -> str:
    access = "with a token (curator token add PERSON)" if result.token_needed else "anyone on this machine"
    return (
        f"{result.catalog} is served at {result.url}\n"
        f"  access  {access}\n"
        f"  data    {result.data_folder}\n"
        "Commands on this machine use it automatically. Stop it with Ctrl-C."
    )


def _announce(catalog: Catalog, settings: Settings, announce: Callable[[ServeResult], None]) -> None:
    """Announce the service and load the working copies, so that the first page is fast.

    The thread is no daemon: if it used the catalog while Python exits, DuckDB would report a leak.
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
    """Serve until a signal, then stop in order. A second signal stops at once."""
    server = _server(app, started)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def on_signal() -> None:
        server.force_exit = stop.is_set()
        stop.set()

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal)
    serving = asyncio.ensure_future(server.serve(sockets))
    waiting = asyncio.ensure_future(stop.wait())
    await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    await asyncio.to_thread(app.state.jobs.stop, GRACE_SECONDS)
    server.should_exit = True
    await serving


def _server(app: FastAPI, started: Callable[[], None]) -> uvicorn.Server:
    class Server(uvicorn.Server):
        """A server without signal handlers that calls `started` when it listens."""

        def capture_signals(self) -> Any:
            return nullcontext()

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started()

    return Server(
        uvicorn.Config(
            app,
            http=HeadTimeout,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )


@contextmanager
def _locked(settings: Settings) -> Iterator[None]:
    def busy() -> AlreadyExists:
        url = _known_url(settings.catalog_path)
        return AlreadyExists(f"{settings.catalog_path} is served already{url}. Stop that service first.")

    with only_process(settings.data / "lock", busy):
        yield


def _known_url(catalog_path: Path) -> str:
    try:
        return f" at {json.loads(address_file(catalog_path).read_bytes())['url']}"
    except (OSError, ValueError, KeyError):
        return ""


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Raise PortBusy, or BadOption if the host isn't ours."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise BadOption(f"--host {host}: not an address of this machine ({error.strerror}).") from error
    with socket.socket(family, kind, protocol) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
            listening.listen()  # now, since another process may have bound the port without listening
        except OSError as error:
            raise PortBusy(f"--host {host} --port {port}: {error.strerror}. Use another --port.") from error
        yield listening


@contextmanager
def _unix_listening(folder: Path) -> Iterator[socket.socket]:
    """Listen in the data folder, or in a private temporary folder if that path is too long."""
    path, temporary = folder / "socket", None
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        temporary = Path(tempfile.mkdtemp(prefix="amatl-"))
        path = temporary / "socket"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        try:
            listening.bind(str(path))
            path.chmod(0o600)
            listening.listen()
            yield listening
        finally:
            path.unlink(missing_ok=True)
            if temporary:
                shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _published_address(settings: Settings) -> Iterator[None]:
    """Write the file that the command line looks for."""
    path = address_file(settings.catalog_path)
    address = {"socket": str(settings.socket_path), "url": _result(settings).url, "pid": os.getpid()}
    write_secret(path, json.dumps(address).encode())
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
