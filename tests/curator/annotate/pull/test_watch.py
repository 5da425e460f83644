"""Watching: the webhook's nudge, and a catalog that another process holds."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import NoReturn

import pytest

from curator.annotate.pull import watch as watching
from curator.annotate.pull.watch import HEADER, PATH, listen, parse_nudge
from curator.catalog import CatalogLocked
from schemas.errors import BadOption


@pytest.mark.parametrize(("path", "secret", "status"), [(PATH, "s", 204), (PATH, "x", 403), ("/", "s", 404)])
def test_a_nudge_needs_its_secret(path: str, secret: str, status: int) -> None:
    nudged = threading.Event()
    server = listen(0, "s", nudged)
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.server_address[1]}{path}", b"{}", {HEADER: secret}, method="POST"
    )
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
            found = answer.status
    except urllib.error.HTTPError as error:
        with error:
            found = error.code
    finally:
        server.shutdown()
        server.server_close()
    assert (found, nudged.is_set()) == (status, status == 204)


@pytest.mark.parametrize(
    ("host", "where"), [("localhost", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("x.org", "0.0.0.0")]
)
def test_a_nudge_from_this_computer_is_listened_for_here_only(host: str, where: str) -> None:
    server = listen(0, "s", threading.Event(), host)
    server.shutdown()
    server.server_close()
    assert server.server_address[0] == where


def test_watching_waits_while_another_process_has_the_catalog(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stop, warned, tries = threading.Event(), list[str](), list[Path]()

    def locked(path: Path) -> NoReturn:
        tries.append(path)
        if len(tries) == 3:
            stop.set()
        raise CatalogLocked("lab.duckdb: another process has the catalog open.")

    monkeypatch.setattr(watching, "Catalog", locked)
    monkeypatch.setattr(watching, "LOCKED_PAUSE_SECONDS", 0.01)
    watching.watch(tmp_path / "lab.duckdb", print, warned.append, stop=stop)
    assert len(tries) == 3
    assert warned == ["lab.duckdb: another process has the catalog open. Trying again."]


@pytest.mark.parametrize("text", ["", "host", "host:", ":80", "host:x", "host:70000"])
def test_where_to_nudge_is_a_host_and_a_port(text: str) -> None:
    assert parse_nudge("lab.example.org:8090") == ("lab.example.org", 8090)
    with pytest.raises(BadOption, match="HOST:PORT"):
        parse_nudge(text)
