"""Pulls again and again: every few seconds, and at once where Label Studio's webhook says that something happened.

The webhook only nudges: it is answered at once, what it says isn't read, and missing one loses nothing. Between two
looks the catalog is closed, so that other commands can have it; it is opened when something changed in Label Studio,
and once a minute whatever Label Studio says.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from curator.annotate import project as projects
from curator.annotate.client import LabelStudio, NotThere, TokenRefused
from curator.annotate.connect import connect
from curator.annotate.pull_all import PullAllResult, chosen, pull_all
from curator.annotate.revisions import Rule
from curator.catalog import Catalog, CatalogLocked
from schemas.errors import AmatlError, BadOption

EVERY_SECONDS = 10.0
AT_LEAST_EVERY_SECONDS = 60.0
LOCKED_PAUSE_SECONDS = 1.0
LOOPBACK = ("localhost", "127.0.0.1")
PATH = "/amatl-nudge"
HEADER = "X-Amatl-Secret"
ACTIONS = ("ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED")
BODY_BYTES = 1 << 20
Tell = Callable[[PullAllResult], None]
Warn = Callable[[str], None]


def watch(
    catalog_path: Path,
    tell: Tell,
    warn: Warn,
    *,
    url: str | None = None,
    dataset: str | None = None,
    title: str | None = None,
    rule: Rule | None = None,
    person: str = "",
    every: float = EVERY_SECONDS,
    nudge: str | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Pulls until `stop` is set; `tell` gets each result with something in it, `warn` each new trouble, once.

    `nudge`: HOST:PORT under which Label Studio reaches this computer, for a webhook. Raises AmatlError for what waiting
    doesn't mend: nothing pushed, a token refused, a project that is gone.
    """
    nudged, stop = threading.Event(), stop or threading.Event()
    records = _records(catalog_path, dataset, title, warn, stop)
    with _endpoint(catalog_path, records, url, nudge, nudged, warn):
        marks: dict[str, Any] | None = None
        trouble, due = "", 0.0
        while not stop.is_set():
            nudged.clear()
            try:
                now = {record["project_key"]: _mark(catalog_path, record, url) for record in records}
                if now != marks or time.monotonic() >= due:
                    result = pull_all(catalog_path, url, dataset, title, rule, person)
                    _refuse(result)
                    if marks is None or any(pulled.changed for pulled in result.pulled):
                        tell(result)
                    rule, marks, due = None, now, time.monotonic() + AT_LEAST_EVERY_SECONDS
                trouble = ""
            except (TokenRefused, NotThere):
                raise
            except AmatlError as error:
                trouble = _warned(warn, trouble, f"{error} Trying again.")
            _wait(every, nudged, stop)


def _records(
    catalog_path: Path, dataset: str | None, title: str | None, warn: Warn, stop: threading.Event
) -> list[dict[str, Any]]:
    """The projects to watch, once nobody else has the catalog; none where it was stopped before."""
    trouble = ""
    while not stop.is_set():
        try:
            with Catalog(catalog_path) as catalog:
                return chosen(catalog, dataset, title)
        except CatalogLocked as error:
            trouble = _warned(warn, trouble, f"{error} Trying again.")
            stop.wait(LOCKED_PAUSE_SECONDS)
    return []


def _mark(catalog_path: Path, record: Mapping[str, Any], url: str | None) -> tuple[Any, ...]:
    """What tells whether anything happened in a project: its newest change, how many tasks and annotations it has."""
    with connect(catalog_path, url, record["url"]) as client:
        number = record["label_studio_id"]
        try:
            totals = client.totals(number)
            return client.newest_change(number), totals["total"], totals["total_annotations"]
        except NotThere:  # a pull finds out where it went
            return (time.monotonic(),)


def _refuse(result: PullAllResult) -> None:
    """Raises the first failure of a pull, as the kind it was."""
    kinds: dict[str, type[AmatlError]] = {"TokenRefused": TokenRefused, "ProjectGone": projects.ProjectGone}
    for failure in result.failures:
        if failure.kind != "ConfigChanged":
            raise kinds.get(failure.kind, AmatlError)(failure.message)


def _warned(warn: Warn, before: str, now: str) -> str:
    if now != before:
        warn(now)
    return now


def _wait(seconds: float, nudged: threading.Event, stop: threading.Event) -> None:
    """Until nudged, stopped, or it is time."""
    waited = 0.0
    while waited < seconds and not stop.is_set() and not nudged.is_set():
        nudged.wait(min(0.2, seconds - waited))
        waited += 0.2


@contextmanager
def _endpoint(
    catalog_path: Path,
    records: list[dict[str, Any]],
    url: str | None,
    nudge: str | None,
    nudged: threading.Event,
    warn: Warn,
) -> Iterator[None]:
    """Listens for Label Studio's webhooks, which are made here and taken away again; nothing where `nudge` is None."""
    if nudge is None:
        yield
        return
    host, port = parse_nudge(nudge)
    secret = secrets.token_hex(16)
    server = listen(port, secret, nudged, host)
    address = f"http://{host}:{server.server_address[1]}{PATH}"
    made: list[tuple[Mapping[str, Any], int]] = []
    try:
        for record in records:
            with connect(catalog_path, url, record["url"]) as client:
                made.append((record, _hook(client, int(record["label_studio_id"]), address, secret)))
        yield
    finally:
        server.shutdown()
        server.server_close()
        for told, webhook in made:
            try:
                with connect(catalog_path, url, told["url"]) as client:
                    client.delete_webhook(webhook)
            except AmatlError as error:
                warn(f"The webhook to {address} couldn't be taken away: {error}")


def _hook(client: LabelStudio, number: int, address: str, secret: str) -> int:
    """Makes our webhook; one that a watch which was killed left goes first."""
    for found in client.webhooks(number):
        if str(found.get("url", "")).endswith(PATH):
            client.delete_webhook(int(found["id"]))
    return client.add_webhook(number, address, {HEADER: secret}, ACTIONS)


def parse_nudge(text: str) -> tuple[str, int]:
    """HOST:PORT; port 0 takes a free one. Raises BadOption."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise BadOption(f"--nudge {text}: write HOST:PORT, as Label Studio reaches this computer.")
    return host, int(port)


def listen(port: int, secret: str, nudged: threading.Event, host: str = "") -> ThreadingHTTPServer:
    """Answers a POST with the secret in its header at once with 204, and sets `nudged`; anything else is refused.

    Where `host`, which Label Studio calls, is this very computer, nobody else reaches it.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "0")
            self.rfile.read(min(int(length) if length.isdigit() else 0, BODY_BYTES))
            if self.path != PATH:
                self._answer(404)
            elif not hmac.compare_digest(self.headers.get(HEADER, "").encode(), secret.encode()):
                self._answer(403)
            else:
                nudged.set()
                self._answer(204)

        def _answer(self, status: int) -> None:
            self.send_response_only(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    try:
        server = ThreadingHTTPServer((host if host in LOOPBACK else "", port), Handler)
    except OSError as error:
        raise BadOption(f"--nudge: port {port} can't be listened on ({error.strerror}). Choose another.") from error
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server
