"""Pull repeatedly: every few seconds, and at once if Label Studio's webhook reports a change.

The webhook is only a nudge: it is answered at once, its content isn't read, and a lost one does no harm. Between two
pulls the catalog is closed, so that other commands can use it. It is opened when something changed in Label Studio, and
once a minute in any case.
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

from curator.annotate.label_studio import project as projects
from curator.annotate.label_studio.client import LabelStudio
from curator.annotate.label_studio.connect import connect
from curator.annotate.label_studio.http import NotThere, TokenRefused
from curator.annotate.pull.every_project import PullAllResult, chosen, pull_all
from curator.annotate.pull.revisions import Rule
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
    """Pull until `stop` is set. `tell` gets each result with changes, `warn` each new problem, once.

    `nudge`: HOST:PORT under which Label Studio reaches this computer, for a webhook. Raise AmatlError for problems that
    waiting doesn't solve: nothing pushed, a token refused, a project deleted.
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
    """Return the projects to watch, once no other process holds the catalog; none if stopped before."""
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
    """Return what shows a change in a project: its newest change, and its numbers of tasks and annotations."""
    with connect(catalog_path, url, record["url"]) as client:
        number = record["label_studio_id"]
        try:
            totals = client.totals(number)
            return client.newest_change(number), totals["total"], totals["total_annotations"]
        except NotThere:  # a pull finds out where it went
            return (time.monotonic(),)


def _refuse(result: PullAllResult) -> None:
    """Raise the first failure of a pull, as the kind it was."""
    kinds: dict[str, type[AmatlError]] = {"TokenRefused": TokenRefused, "ProjectGone": projects.ProjectGone}
    for failure in result.failures:
        if failure.kind != "ConfigChanged":
            raise kinds.get(failure.kind, AmatlError)(failure.message)


def _warned(warn: Warn, before: str, now: str) -> str:
    if now != before:
        warn(now)
    return now


def _wait(seconds: float, nudged: threading.Event, stop: threading.Event) -> None:
    """Wait until nudged, stopped, or `seconds` have passed."""
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
    """Listen for Label Studio's webhooks, which are added here and deleted again. Do nothing if `nudge` is None."""
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
    """Add our webhook. Delete one that a killed watch left."""
    for found in client.webhooks(number):
        if found.url.endswith(PATH) and found.id is not None:
            client.delete_webhook(found.id)
    return client.add_webhook(number, address, {HEADER: secret}, ACTIONS)


def parse_nudge(text: str) -> tuple[str, int]:
    """Parse HOST:PORT; port 0 takes a free one. Raise BadOption."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise BadOption(f"--nudge {text}: write HOST:PORT, as Label Studio reaches this computer.")
    return host, int(port)


def listen(port: int, secret: str, nudged: threading.Event, host: str = "") -> ThreadingHTTPServer:
    """Serve POSTs that carry the secret: answer 204 at once and set `nudged`. Refuse anything else.

    If `host`, which Label Studio calls, is this computer, only this computer reaches the server.
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
