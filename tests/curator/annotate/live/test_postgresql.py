"""`curator annotate start --database postgresql://...` on a PostgreSQL of the test's own; skipped without one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from curator.annotate.local_server.state import read_local_server, state_folder
from curator.catalog import Catalog
from tests.curator.annotate.live.server import free_port
from tests.curator.annotate.live.test_start import Running, get, gone


def programs() -> Path | None:
    """The folder of PostgreSQL's programs; Debian keeps them off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


@pytest.fixture
def database() -> Iterator[str]:
    """The URL of an empty database. PostgreSQL refuses to run as root, so it gets its own user there."""
    bin_folder = programs()
    if bin_folder is None:
        pytest.skip("PostgreSQL isn't installed")
    folder = Path(tempfile.mkdtemp(prefix="amatl-postgresql-"))
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    port = free_port()

    def run(program: str, *options: str) -> None:
        command = [str(bin_folder / program), *options]
        subprocess.run(command, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL, timeout=120)

    run("initdb", "-D", str(folder / "data"), "-U", "amatl", "--auth=trust", "-E", "UTF8")
    where = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    run("pg_ctl", "-D", str(folder / "data"), "-o", where, "-l", str(folder / "log"), "-w", "start")
    try:
        run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "amatl", "annotations")
        yield f"postgresql://amatl:not%20needed@127.0.0.1:{port}/annotations"
    finally:
        run("pg_ctl", "-D", str(folder / "data"), "-m", "immediate", "stop")
        shutil.rmtree(folder)


def test_postgresql_is_used_kept_and_its_password_not_shown(database: str, tmp_path: Path) -> None:
    catalog = tmp_path / "lab.duckdb"
    Catalog.create(catalog).close()
    ports = ("--port", str(free_port()), "--images-port", str(free_port()))
    running = Running(catalog, "--database", database, *ports)
    try:
        told = running.ready(400)
        known = read_local_server(catalog)
        assert known and known.database == database
        assert told["database"].startswith("PostgreSQL at 127.0.0.1:") and "needed" not in str(told)
        assert get(f"{told['url']}/api/current-user/whoami", known.token)["email"] == told["owner"]
        assert not list((state_folder(catalog) / "data").glob("*.sqlite3"))
        children = running.children()
        assert running.stop() == 0 and gone(children)
    finally:
        running.process.kill()
        running.process.wait(30)
        assert running.process.stdout
        running.process.stdout.close()
