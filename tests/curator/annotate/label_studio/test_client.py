"""How the client says what went wrong, and what it asks twice: against a small server of our own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from curator.annotate.label_studio.client import LabelStudio, where
from curator.annotate.label_studio.http import (
    LabelStudioFailed,
    NotThere,
    Refused,
    TokenRefused,
    Uncertain,
    Unreachable,
)

Answer = tuple[int, dict[str, str], bytes]
Script = Callable[[str, str, dict[str, str]], Answer]
LEGACY, PERSONAL = "a" * 40, "e30.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.sig"


class Fake:
    """Answers by a script, and remembers what it was asked."""

    def __init__(self, script: Script) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.bodies: list[bytes] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def _any(self) -> None:
                fake.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
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
        assert client.project(1).id == 1
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
        assert client.project(1).id == client.project(1).id == 1
    paths = [path for _, path, _ in fake.asked]
    assert paths == ["/api/token/refresh/", "/api/projects/1/"] * 2 + ["/api/projects/1/"]
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


def test_what_is_imported_arrives_to_the_letter(serve: Callable[[Script], Fake]) -> None:
    """The SDK gets dicts: nothing is left out, renamed or dated."""
    tasks = [{"data": {"image": "u", "metadata": {"from": "2026-11-23T06:50:01Z", "none": None}}, "predictions": []}]
    fake = serve(always(told(201, {"task_ids": [4]})))
    with client_of(fake) as client:
        assert client.import_tasks(1, tasks) == [4]
        client.delete_tasks(1, [4])
    assert [json.loads(body) for body in fake.bodies] == [
        tasks,
        {"selectedItems": {"all": False, "included": [4]}},
    ]
