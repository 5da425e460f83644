"""The client of a catalog that a service holds: by Unix socket on this machine, by URL on another.

Each query is one request. A read is repeated if the connection breaks; a change isn't, since it may have been made: the
error says so, and the same command goes on from what is there.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from curator.catalog.wire import ARROW, PARAMETERS, decode_rows, dialect, encode_frame
from schemas import __version__
from schemas.edge.address import address_of, warn_if_unencrypted
from schemas.edge.retry import broke_off, retried
from schemas.errors import AmatlError, BadOption, ServiceFailed

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS = 10
# Between what a network may swallow and a query over a large catalog.
ANSWER_SECONDS = 600


def service_folder(catalog_path: Path) -> Path:
    """Return `<catalog>.service` beside the catalog (links resolved): the data folder of its service."""
    real = catalog_path.resolve()
    return real.with_name(f"{real.name}.service")


def address_file(catalog_path: Path) -> Path:
    """Return the file in which a running service records its socket, as a JSON object."""
    return service_folder(catalog_path) / "address.json"


def find(path: Path | str) -> Service | None:
    """Return the service at a URL or of this file; None if the file has none. Raises ServiceFailed."""
    if url := address_of(path):
        service = Service(_by_url(url), url)
        service.greet()
        return service
    try:
        address = json.loads(address_file(Path(path)).read_bytes())
        socket_path = str(address["socket"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    service = Service(_client("http://localhost", None, socket_path=socket_path), f"the service of {path}")
    try:
        service.greet()
    except NobodyThere:
        return None
    return service


class ServiceBusy(ServiceFailed):
    """The service has as many requests in hand as it takes. Try again in a moment."""


class ConnectionBroke(ServiceFailed):
    """The connection to the service broke. Try again."""


class NobodyThere(ServiceFailed):
    """No service answers there. Start one with: curator serve"""


class Service:
    """A connection to a service."""

    def __init__(self, client: httpx.Client, name: str) -> None:
        self._client, self.name = client, name

    def close(self) -> None:
        self._client.close()

    def greet(self) -> None:
        """Check that a service answers, accepts the token, and has the same queries."""
        try:
            told = self.sent("GET", "/catalog").json()
            version, spoken = str(told["version"]), told["dialect"]
        except (ValueError, KeyError, TypeError) as error:
            self.close()
            raise ServiceFailed(f"{self.name}: that is no curator service. Look at the address.") from error
        except BaseException:
            self.close()
            raise
        if spoken != dialect():
            self.close()
            raise ServiceFailed(
                f"{self.name} runs curator {version}, this is {__version__} with other queries: they don't "
                "understand each other. Update the older one."
            )

    def rows(self, query: str, frame: pl.DataFrame | None, parameters: Mapping[str, Any]) -> pa.Table:
        """Run a query and return its rows."""
        answer = self._call(query, {} if frame is None else {"rows": frame}, parameters, again=True)
        if answer.headers.get("content-type") != ARROW:
            raise ServiceFailed(f"{self.name}: that is no curator service. Look at the address.")
        return decode_rows(answer.content)

    def change(self, query: str, frames: Mapping[str, pl.DataFrame], parameters: Mapping[str, Any]) -> None:
        """Run a change as one transaction."""
        self._call(query, frames, parameters, again=False)

    def _call(
        self, query: str, frames: Mapping[str, pl.DataFrame], parameters: Mapping[str, Any], again: bool
    ) -> httpx.Response:
        files = {PARAMETERS: (PARAMETERS, json.dumps(dict(parameters)).encode(), "application/json")}
        files |= {name: (name, encode_frame(frame), ARROW) for name, frame in frames.items()}
        return self.sent("POST", f"/catalog/{query}", again, files=files)

    def sent(self, method: str, path: str, again: bool = True, **content: Any) -> httpx.Response:
        """Send a request; with `again`, repeat it if the connection breaks. Raises the service's error."""
        import httpx

        try:
            answer = retried(lambda: self._client.request(method, path, **content), broke_off, (0.0,) * again)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise NobodyThere(f"{self.name}: nobody answers there ({error}). Is it running?") from error
        except httpx.HTTPError as error:
            made = "" if again else " Whether the last change was made isn't known: the same command goes on."
            reason = str(error) or type(error).__name__
            raise ConnectionBroke(f"{self.name}: the connection broke ({reason}).{made}") from error
        if answer.is_success:
            return answer
        raise raised(self.name, answer)


def raised(name: str, answer: httpx.Response) -> AmatlError:
    """Return the error that a problem document describes: same class, same text."""
    try:
        problem = answer.json()
        kind, detail = str(problem["type"]).rpartition(":")[2], str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return ServiceFailed(f"{name}: answered {answer.status_code}, and not as a curator service does.")
    if answer.status_code == 401:
        return ServiceFailed(f"{name}: wants a token that holds. Set CURATOR_TOKEN, or CURATOR_TOKEN_FILE to its file.")
    if answer.status_code == 503:
        return ServiceBusy(f"{name}: {detail}")
    known = {one.__name__: one for one in _family(AmatlError)}
    return known[kind](detail) if kind in known else ServiceFailed(f"{name}: {detail}")


def token() -> str | None:
    """Return the token of CURATOR_TOKEN, or of the file CURATOR_TOKEN_FILE.

    Raises BadOption if the file can't be read, or others can read it.
    """
    if given := os.environ.get("CURATOR_TOKEN"):
        return given.strip()
    if not (name := os.environ.get("CURATOR_TOKEN_FILE")):
        return None
    path = Path(name)
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise BadOption(f"CURATOR_TOKEN_FILE {path}: others can read it. Run: chmod 600 {path}")
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise BadOption(f"CURATOR_TOKEN_FILE {path}: {error.strerror}.") from error


def _client(base_url: str, timeout_s: float | None, **more: Any) -> httpx.Client:
    try:
        import httpx
    except ImportError as error:
        raise ServiceFailed("Speaking to a service needs httpx. Run: pip install 'amatl[service]'") from error
    if socket_path := more.pop("socket_path", None):
        more["transport"] = httpx.HTTPTransport(uds=socket_path)
    return httpx.Client(base_url=base_url, timeout=httpx.Timeout(timeout_s, connect=CONNECT_SECONDS), **more)


def _by_url(url: str) -> httpx.Client:
    given = token()
    if given:
        warn_if_unencrypted(url)
    return _client(url, ANSWER_SECONDS, headers={"Authorization": f"Bearer {given}"} if given else {})


def _family(kind: type[AmatlError]) -> list[type[AmatlError]]:
    return [kind, *(one for child in kind.__subclasses__() for one in _family(child))]
