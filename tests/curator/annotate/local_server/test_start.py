"""Where `start` puts things, without starting any of it; the real thing is in live/test_start.py."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from curator.annotate.local_server import process, start
from curator.annotate.local_server.environment import NoLabelStudio
from curator.annotate.local_server.ports import Wish
from curator.annotate.local_server.process import Account, settings
from curator.annotate.local_server.start import plan
from curator.annotate.local_server.state import LocalServer
from curator.cli import main
from schemas.errors import BadOption, PortBusy
from schemas.progress import Progress, silent

ACCOUNT = Account("ann@amatl.local", "p" * 16, "0" * 40)


@pytest.fixture
def busy() -> Iterator[int]:
    """A port in use, with a free one after it."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def known(url: str = "http://127.0.0.1:18555", images_url: str = "http://127.0.0.1:18556") -> LocalServer:
    return LocalServer(url=url, images_url=images_url, owner="ann@amatl.local", password="p" * 16, token="0" * 40)


def test_a_first_start_makes_secrets_and_a_second_keeps_them() -> None:
    first, notes = plan(Wish(port=18555), None)
    assert len(first.token) == 40 and len(first.password) >= 16 and "@" in first.owner and not notes
    assert first.url == "http://127.0.0.1:18555" and first.images_url == "http://127.0.0.1:18556"
    assert plan(Wish(), first) == (first, [])
    assert plan(Wish(port=18555), None)[0].token != first.token


def test_a_port_that_was_asked_for_and_is_busy_is_an_error(busy: int) -> None:
    with pytest.raises(PortBusy, match=f"--port {busy}"):
        plan(Wish(port=busy), None)
    with pytest.raises(PortBusy, match=f"--images-port {busy}"):
        plan(Wish(images_port=busy), None)


def test_a_port_that_was_not_asked_for_moves_on_and_says_so(busy: int) -> None:
    moved, notes = plan(Wish(), known(f"http://127.0.0.1:{busy}"))
    assert moved.url != f"http://127.0.0.1:{busy}"
    assert notes == [f"Port {busy} is in use by another program, so Label Studio took {moved.url.rpartition(':')[2]}."]


def test_the_pictures_stay_where_tasks_look_for_them(busy: int) -> None:
    with pytest.raises(PortBusy, match=rf"Port {busy}, where tasks look.*--images-port \d+ and push again"):
        plan(Wish(), known(images_url=f"http://127.0.0.1:{busy}"))
    _, notes = plan(Wish(images_port=18557), known())
    assert "push again" in notes[0] and "18556" in notes[0]
    _, notes = plan(Wish(address="studio.lan"), known())
    assert "push again" in notes[0]


def test_the_database_is_kept_until_another_is_named() -> None:
    url = "postgresql://amatl:secret@db.lan/annotations"
    first, _ = plan(Wish(database=url), None)
    assert plan(Wish(), first)[0].database == url
    assert plan(Wish(database="sqlite"), first)[0].database is None


@pytest.mark.parametrize(
    "url",
    ["mysql://a/b", "postgresql://a", "postgresql://a/", "postgresql://a:b@c:port/d", "a.db", "postgresql://a/b?x=1"],
)
def test_what_is_no_database_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(BadOption, match="--database") as error:
        plan(Wish(database=url), None)
    assert "a:b" not in str(error.value)


def test_settings_of_postgresql() -> None:
    told = settings(Path("data"), "http://x", ACCOUNT, "postgresql://am%40tl:s%2Fcret@db.lan:6543/annotations")
    found = {name.removeprefix("LABEL_STUDIO_POSTGRE_"): value for name, value in told.items() if "POSTGRE" in name}
    assert found == {
        "HOST": "db.lan",
        "PORT": "6543",
        "USER": "am@tl",
        "PASSWORD": "s/cret",
        "NAME": "annotations",
    }
    assert told["LABEL_STUDIO_DJANGO_DB"] == "default"


def test_no_setting_of_ours_strays_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Label Studio reads bare names too; a proxy or a DSN of ours would take it outside."""
    stray = {
        "HOST": "x",
        "PORT": "1",
        "DEBUG": "1",
        "CI": "1",
        "SENTRY_DSN": "x",
        "HEARTEX_HOST": "x",
        "HTTPS_PROXY": "x",
    }
    for name, value in stray.items():
        monkeypatch.setenv(name, value)
    told = settings(Path("data"), "http://x", ACCOUNT)
    assert not set(stray) & set(told)
    assert set(told) - set(process.KEPT_OF_OURS) - {"PYTHONUNBUFFERED"} == {
        name for name in told if name.startswith("LABEL_STUDIO_")
    }


def program(path: Path, says: str) -> Path:
    """A label-studio that says something and ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit 1\n")
    path.chmod(0o755)
    return path


def test_an_environment_that_lacks_modules_is_made_anew_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AMATL_LABEL_STUDIO", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    broken = program(tmp_path / "cache/amatl/label-studio/bin/label-studio", "ModuleNotFoundError: No module named x")
    mark = broken.parent.parent / "amatl-ready"
    mark.write_text("1")
    remade: list[bool] = []

    def ensure(progress: Progress) -> Path:
        remade.append(not mark.exists())
        return program(tmp_path / "new", "the database is full")

    monkeypatch.setattr(start, "ensure_environment", ensure)
    with pytest.raises(NoLabelStudio, match=r"ended before it was ready. Its last words: the database is full"):
        start._start_label_studio(broken, tmp_path, known(), "127.0.0.1", silent)
    assert remade == [True]


def test_start_needs_a_catalog(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["annotate", "start", "--catalog", str(tmp_path / "lab.duckdb")])
    assert result.exit_code == 1 and "there is no catalog here" in result.output
    assert list(tmp_path.iterdir()) == []
