"""How the client says what went wrong, and what it asks twice: against a small server of our own."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import pytest

from curator.annotate import watch as watching
from curator.annotate.client import (
    LabelStudio,
    LabelStudioFailed,
    NotThere,
    Refused,
    TokenRefused,
    Uncertain,
    Unreachable,
    where,
)
from curator.annotate.connect import address, connect, images_address
from curator.annotate.state import LocalServer, write_local_server
from curator.annotate.watch import HEADER, PATH, listen, parse_nudge
from curator.catalog import CatalogLocked
from schemas.errors import BadOption

Answer = tuple[int, dict[str, str], bytes]
Script = Callable[[str, str, dict[str, str]], Answer]
LEGACY, PERSONAL = "a" * 40, "e30.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.sig"


class Fake:
    """Answers by a script, and remembers what it was asked."""

    def __init__(self, script: Script) -> None:
        self.asked: list[tuple[str, str, str]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def _any(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                fake.asked.append((self.command, self.path.partition("?")[0], self.headers.get("Authorization", "")))
                status, headers, body = script(self.command, self.path, dict(self.headers))
                self.send_response_only(status)
                for name, value in (headers | {"Content-Length": str(len(body))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PATCH = do_DELETE = _any

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def serve() -> Iterator[Callable[[Script], Fake]]:
    made: list[Fake] = []

    def start(script: Script) -> Fake:
        made.append(Fake(script))
        return made[-1]

    yield start
    for fake in made:
        fake.server.shutdown()
        fake.server.server_close()


def told(status: int, document: Any, **headers: str) -> Answer:
    return status, {"Content-Type": "application/json", **headers}, json.dumps(document).encode()


def always(answer: Answer) -> Script:
    return lambda method, path, headers: answer


def client_of(fake: Fake, token: str = LEGACY, pauses: list[float] | None = None) -> LabelStudio:
    return LabelStudio(fake.url, token, timeout=5, pause=(pauses if pauses is not None else []).append)


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (told(401, {"detail": "Invalid token."}), TokenRefused, r"refuses the token, 401 \(Invalid token\)"),
        (told(403, {"detail": "No."}), TokenRefused, "LABEL_STUDIO_API_KEY"),
        (told(404, {"detail": "No Project matches the given query."}), NotThere, r"404 \(No Project matches"),
        (told(409, {"detail": "conflict"}), Refused, "run the same command again"),
        (told(400, {"detail": "Validation error", "validation_errors": {"data": ["no"]}}), Refused, "data: no"),
        (told(500, {"detail": "oh"}), LabelStudioFailed, "Look at its log"),
        ((302, {"Location": "https://elsewhere/"}, b""), Unreachable, "https://elsewhere/.*--url"),
        ((404, {}, b"<html>"), Unreachable, "isn't a Label Studio"),
        ((200, {}, b"<html>"), Unreachable, "isn't a Label Studio"),
    ],
)
def test_each_failure_is_one_line_that_says_what_to_do(
    serve: Callable[[Script], Fake], answer: Answer, kind: type[Exception], says: str
) -> None:
    with client_of(serve(always(answer))) as client, pytest.raises(kind, match=says) as raised:
        client.project(1)
    assert "\n" not in str(raised.value) and LEGACY not in str(raised.value)


def test_what_may_be_asked_twice_is_and_with_growing_pauses(serve: Callable[[Script], Fake]) -> None:
    answers = iter([told(502, {}), told(429, {}, **{"Retry-After": "3"}), told(500, {}), told(200, {"id": 1})])
    pauses: list[float] = []
    fake = serve(lambda *_: next(answers))
    with client_of(fake, pauses=pauses) as client:
        assert client.project(1) == {"id": 1}
    assert pauses == [0.5, 3.0, 2.0]


def test_an_import_is_never_sent_twice_when_it_may_have_arrived(serve: Callable[[Script], Fake]) -> None:
    fake = serve(always(told(500, {"detail": "database is locked"})))
    with client_of(fake) as client, pytest.raises(Uncertain, match="Nobody can tell"):
        client.import_tasks(1, [{"data": {}}])
    assert len(fake.asked) == 1


def test_an_import_that_tells_too_few_numbers_is_looked_into(serve: Callable[[Script], Fake]) -> None:
    with client_of(serve(always(told(201, {"task_ids": [1]})))) as client, pytest.raises(Uncertain):
        client.import_tasks(1, [{"data": {}}, {"data": {}}])


def test_a_personal_token_is_exchanged_and_exchanged_again_when_it_ends(serve: Callable[[Script], Fake]) -> None:
    given = iter(["access-1", "access-2"])

    def script(method: str, path: str, headers: dict[str, str]) -> Answer:
        if path == "/api/token/refresh/":
            return told(200, {"access": next(given)})
        return told(200, {"id": 1}) if headers["Authorization"] == "Bearer access-2" else told(401, {"detail": "ended"})

    fake = serve(script)
    with client_of(fake, PERSONAL) as client:
        assert client.project(1) == client.project(1) == {"id": 1}
    paths = [path for _, path, _ in fake.asked]
    assert paths == ["/api/token/refresh/", "/api/projects/1"] * 2 + ["/api/projects/1"]
    assert not any(PERSONAL in authorization for *_, authorization in fake.asked)


def test_a_personal_token_that_ended_is_said_without_it(serve: Callable[[Script], Fake]) -> None:
    fake = serve(always(told(401, {"detail": "Token is blacklisted"})))
    with client_of(fake, PERSONAL) as client, pytest.raises(TokenRefused, match="blacklisted") as raised:
        client.project(1)
    assert PERSONAL not in str(raised.value)


def test_people_who_were_removed_have_no_name(serve: Callable[[Script], Fake]) -> None:
    """Label Studio calls each of them Deleted: they would be taken for one person."""
    users = [{"id": 1, "email": "ana@example.org"}, {"id": 2, "email": "Deleted"}, {"id": 3, "email": "Deleted"}]
    with client_of(serve(always(told(200, users)))) as client:
        assert client.people() == {1: "ana@example.org"}


def test_nobody_there_says_how_to_start() -> None:
    client = LabelStudio("http://127.0.0.1:9", LEGACY, pause=lambda _: None)
    with client, pytest.raises(Unreachable, match="curator annotate start"):
        client.project(1)


def test_changes_are_asked_for_from_the_last_time_seen_and_none_is_missed(serve: Callable[[Script], Fake]) -> None:
    times = [f"2026-11-23T06:50:0{second}.000000Z" for second in (1, 1, 1, 2, 3)]
    tasks = [{"id": number, "updated_at": moment} for number, moment in enumerate(times)]

    def script(method: str, path: str, headers: dict[str, str]) -> Answer:
        from urllib.parse import parse_qs, urlsplit

        asked = {name: value[0] for name, value in parse_qs(urlsplit(path).query).items()}
        since = json.loads(asked["query"])["filters"]["items"][0]["value"]
        size, page = int(asked["page_size"]), int(asked["page"])
        found = [task for task in tasks if str(task["updated_at"]) >= since]
        return told(200, {"tasks": found[size * (page - 1) : size * page], "total": len(found)})

    with client_of(serve(script)) as client:
        pages = list(client.tasks_since(1, "id", times[0], page_size=2))
    assert {task["id"] for page in pages for task in page} == {0, 1, 2, 3, 4}


def test_a_query_is_written_as_the_filters_want_it() -> None:
    item = {"filter": "filter:tasks:id", "operator": "greater", "value": 3, "type": "Number"}
    assert where(("id", "greater", 3, "Number")) == {"filters": {"conjunction": "and", "items": [item]}}


LOCAL = LocalServer(
    url="http://localhost:8080", images_url="http://localhost:8081", owner="o", password="p", token="local"
)


def test_which_label_studio_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    assert address(LOCAL, "http://x/", None) == "http://x"
    assert address(LOCAL, None, "http://127.0.0.1:9999") == "http://localhost:8080"  # started anew on another port
    assert address(LOCAL, None, "https://ls.example.org") == "https://ls.example.org"
    assert address(None, None, "http://127.0.0.1:9999") == "http://127.0.0.1:9999"
    with pytest.raises(BadOption, match="curator annotate start"):
        address(None, None, None)
    with pytest.raises(BadOption, match="whole address"):
        address(LOCAL, "localhost:8080", None)
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://env")
    assert address(LOCAL, None, "http://last") == "http://env"


@pytest.mark.parametrize("url", ["http://ann:s3cret@host:8080", "https://s3cret@host/?a", "ann:s3cret@host"])
def test_an_address_with_a_login_is_refused_and_not_repeated(url: str, tmp_path: Path) -> None:
    """It would stand in the catalog, in what is printed, and (of the previews) in every task."""
    with pytest.raises(BadOption, match="--url: leave the login out") as refusal:
        address(LOCAL, url, None)
    with pytest.raises(BadOption, match="--images-url: leave the login out") as other:
        images_address(tmp_path / "lab.duckdb", url, None)
    assert "s3cret" not in f"{refusal.value} {other.value}"
    assert address(LOCAL, "http://host/~ann@home", None) == "http://host/~ann@home"


def test_the_token_of_start_goes_to_its_own_label_studio_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    catalog = tmp_path / "lab.duckdb"
    write_local_server(catalog, LOCAL)
    with connect(catalog, None) as client:
        assert (client.url, client._token) == ("http://localhost:8080", "local")
    with pytest.raises(TokenRefused, match="LABEL_STUDIO_API_KEY"):
        connect(catalog, "https://ls.example.org")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "mine")
    with connect(catalog, "https://ls.example.org") as client:
        assert client._token == "mine"
    assert images_address(catalog, None, "http://last") == "http://localhost:8081"
    assert images_address(tmp_path / "other", None, "http://last") == "http://last"
    with monkeypatch.context() as patch:
        patch.setenv("CURATOR_IMAGES_URL", "https://lab.example/annotators/")
        assert images_address(catalog, None, "http://last") == "https://lab.example/annotators"
        assert images_address(catalog, "http://asked", "http://last") == "http://asked"
    with pytest.raises(BadOption, match="--images-url"):
        images_address(tmp_path / "other", None, None)


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
