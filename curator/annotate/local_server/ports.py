"""Ports and addresses of a local Label Studio and of its previews: as asked for, as last time, or free ones."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from curator.annotate.local_server.state import LocalServer
from schemas.errors import PortBusy

DEFAULT_PORT = 8080
LOCAL = "127.0.0.1"
TRIES = 100


@dataclass(frozen=True)
class Wish:
    """The options of `annotate start`. None means the value of the last start, or else the default."""

    host: str = LOCAL
    port: int | None = None
    images_port: int | None = None
    address: str | None = None
    database: str | None = None


def studio_port(wish: Wish, known: LocalServer | None, notes: list[str]) -> int:
    """Return Label Studio's port: the one asked for, else the last one or a free one after it. Raise PortBusy."""
    if wish.port is not None:
        if is_busy(wish.port, wish.host):
            raise PortBusy(f"--port {wish.port}: another program listens there. Choose another one, or leave it out.")
        return wish.port
    wanted = (urlsplit(known.url).port if known else None) or DEFAULT_PORT
    found = free_port(wanted, wish.host)
    if found != wanted:
        notes.append(f"Port {wanted} is in use by another program, so Label Studio took {found}.")
    return found


def images_port(wish: Wish, known: LocalServer | None, studio_port: int) -> int:
    """Return the port of the previews: the last one, since tasks hold URLs with it. Raise PortBusy."""
    if wish.images_port is not None:
        if wish.images_port == studio_port or is_busy(wish.images_port, wish.host):
            raise PortBusy(f"--images-port {wish.images_port}: in use. Choose another one.")
        return wish.images_port
    if not known:
        return free_port(studio_port + 1, wish.host)
    before = urlsplit(known.images_url).port or 0
    if before == studio_port or is_busy(before, wish.host):
        raise PortBusy(
            f"Port {before}, where tasks look for their images, is in use. Stop what listens there, or move them "
            f"with --images-port {free_port(max(before, studio_port) + 1, wish.host)} and push again."
        )
    return before


def free_port(wanted: int, host: str) -> int:
    """Return `wanted`, or the first free port after it. Raise PortBusy if none of TRIES ports is free."""
    for port in range(wanted, min(wanted + TRIES, 65536)):
        if not is_busy(port, host):
            return port
    raise PortBusy(f"Ports {wanted} to {wanted + TRIES - 1} are all in use. Choose another one with --port.")


def is_busy(port: int, host: str) -> bool:
    """Return whether a program listens on the port, at `host` or at localhost, where Label Studio looks."""
    for address in {host, "127.0.0.1"}:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return True
    return False


def listen(host: str, port: int) -> socket.socket:
    """Return a socket bound now: no other program gets the port while Label Studio starts. Raise PortBusy."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise PortBusy(f"--host {host}, port {port}: {error.strerror}. Choose another one.") from error
    return listening


def own_address() -> str:
    """Return this computer's address in its network. Nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 1))
            return str(probe.getsockname()[0])
        except OSError:
            return LOCAL
