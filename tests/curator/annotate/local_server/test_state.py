"""The local server's state: kept for its owner alone."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from curator.annotate.local_server.state import LocalServer, read_local_server, state_folder, write_local_server
from schemas.errors import BadDocument


def server(url: str = "http://127.0.0.1:8080") -> LocalServer:
    return LocalServer(
        url=url, images_url="http://127.0.0.1:8081", owner="owner@amatl.local", password="p" * 12, token="0" * 40
    )


def test_round_trip_for_the_owner_alone(tmp_path: Path) -> None:
    catalog = tmp_path / "lab.duckdb"
    assert read_local_server(catalog) is None
    write_local_server(catalog, server())
    write_local_server(catalog, server("http://127.0.0.1:9090"))
    assert read_local_server(catalog) == server("http://127.0.0.1:9090")
    assert stat.S_IMODE((state_folder(catalog) / "server.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(state_folder(catalog).stat().st_mode) == 0o700
    assert [path.name for path in state_folder(catalog).iterdir()] == ["server.json"]


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    catalog = tmp_path / "lab.duckdb"
    write_local_server(catalog, server())
    (state_folder(catalog) / "server.json").write_text('{"url": 3}')
    with pytest.raises(BadDocument, match=r"server\.json: url"):
        read_local_server(catalog)
