"""HTTP to one Label Studio: authenticate, retry, and turn every failure into one line that says what to do.

`Http` is the `httpx.Client` under label-studio-sdk. The SDK's own retries are switched off: they would send an import
again that may have arrived, and Label Studio takes the same task twice. Here a request that may be repeated is repeated
after a dropped connection, a time-out, a 429 or a 5xx. A POST that adds rows is repeated only if it can't have arrived;
otherwise `Uncertain` is raised and the caller looks first.

The token is of either kind. A legacy token is sent as it is. A personal access token (a JWT) is exchanged for access
tokens that live five minutes. Neither ever appears in a message. The SDK's own exchange isn't used: it trusts the local
clock, and fails where an access token ends early (another clock, a restart with another secret).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any
from urllib.parse import urlsplit

import httpx

from schemas.errors import AmatlError

ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 0.5
ACCESS_TOKEN_SECONDS = 240  # of the 300 it lives
REFRESH_PATH = "/api/token/refresh/"
REPEATABLE_POST = "/api/dm/actions"  # deletes tasks: the same when sent twice


class LabelStudioFailed(AmatlError):
    """Label Studio failed. Look at its log, then run the same command again: it goes on from there."""


class Unreachable(LabelStudioFailed):
    """Label Studio doesn't answer. Is it running? Start one with: curator annotate start"""


class TokenRefused(LabelStudioFailed):
    """Label Studio refuses the token. Set LABEL_STUDIO_API_KEY to a valid one (Account & Settings, Access Token)."""


class NotThere(LabelStudioFailed):
    """Label Studio has no such thing any more."""


class Refused(LabelStudioFailed):
    """Label Studio refuses the request."""


class Uncertain(LabelStudioFailed):
    """Nobody can tell whether Label Studio took the request. Run the same command again: it looks first."""


class Http(httpx.Client):
    """An HTTP client for the Label Studio at `url`. `pause` is called with the seconds before each retry."""

    def __init__(self, url: str, token: str, timeout: float, pause: Callable[[float], None]) -> None:
        self.url, self.pause = url, pause
        try:
            super().__init__(base_url=url, auth=_Token(url, token), timeout=timeout, trust_env=not _is_local(url))
        except httpx.InvalidURL as error:
            raise Unreachable(f"{url}: not an address. Write it like http://localhost:8080.") from error

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send a request, again if that may help. Return a 2xx response; raise LabelStudioFailed for any other."""
        once = request.method == "POST" and not request.url.path.startswith(REPEATABLE_POST)
        for attempt in range(ATTEMPTS):
            try:
                return self._send_once(request, options)
            except _TryAgain as failure:
                if failure.arrived and once:
                    message = f"{failure.message} Nobody can tell whether it took what was sent."
                    raise Uncertain(message) from failure.cause
                if attempt + 1 == ATTEMPTS:
                    raise failure.final(failure.message) from failure.cause
                self.pause(failure.pause or FIRST_PAUSE_SECONDS * 2**attempt)
        raise AssertionError("unreachable")

    def _send_once(self, request: httpx.Request, options: dict[str, Any]) -> httpx.Response:
        """Send a request. Raise _TryAgain if a second one may help, otherwise LabelStudioFailed."""
        try:
            response = super().send(request, **options)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            message = (
                f"Label Studio at {self.url} doesn't answer. Is it running? Start one with: curator annotate start"
            )
            raise _TryAgain(message, Unreachable, error, arrived=False) from error
        except httpx.TimeoutException as error:
            seconds = request.extensions["timeout"]["read"]
            message = f"Label Studio at {self.url} gave no answer in {seconds:g} s."
            raise _TryAgain(message, Unreachable, error, arrived=_is_exchanged(error)) from error
        except httpx.HTTPError as error:
            message = f"Label Studio at {self.url} broke the connection off."
            raise _TryAgain(message, Unreachable, error, arrived=_is_exchanged(error)) from error
        if not response.is_success:
            raise _failure(self.url, response)
        if response.content and not _is_json(response):
            raise _not_label_studio(self.url)
        return response


class _Token(httpx.Auth):
    """Authenticates requests with a legacy token, or with access tokens exchanged for a personal one."""

    requires_response_body = True

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token
        self.access: tuple[str, float] | None = None  # and until when, time.monotonic()

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send the request with a token; with a new access token if the last one is refused."""
        if self.token.count(".") != 2:  # a JWT has three parts
            request.headers["Authorization"] = f"Token {self.token}"
            yield request
            return
        if self.access is None or time.monotonic() > self.access[1]:
            yield from self._exchange()
        response = yield self._signed(request)
        if response.status_code == 401:
            yield from self._exchange()
            yield self._signed(request)

    def _signed(self, request: httpx.Request) -> httpx.Request:
        assert self.access
        request.headers["Authorization"] = f"Bearer {self.access[0]}"
        return request

    def _exchange(self) -> Generator[httpx.Request, httpx.Response, None]:
        """Ask for a new access token. Raise TokenRefused if the personal token isn't valid."""
        response = yield httpx.Request("POST", f"{self.url}{REFRESH_PATH}", json={"refresh": self.token})
        if response.status_code >= 500:
            message = f"Label Studio at {self.url} answered {response.status_code} when asked for an access token."
            raise _TryAgain(message, LabelStudioFailed, None, arrived=False)
        if response.is_success and not _is_json(response):
            raise _not_label_studio(self.url)
        access = response.json().get("access") if response.is_success else None
        if not isinstance(access, str):
            raise TokenRefused(_refusal(self.url, response))
        self.access = (access, time.monotonic() + ACCESS_TOKEN_SECONDS)


class _TryAgain(Exception):
    """A failure that may pass. `arrived`: Label Studio may have the request; `final`: the error after the last try."""

    def __init__(
        self,
        message: str,
        final: type[LabelStudioFailed],
        cause: Exception | None,
        arrived: bool = True,
        pause: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.final, self.cause, self.arrived, self.pause = message, final, cause, arrived, pause


def _not_label_studio(url: str) -> Unreachable:
    """Return the error for a server at `url` that doesn't speak Label Studio's API."""
    return Unreachable(f"{url} answers, but isn't a Label Studio. Name its address with --url.")


def _is_json(response: httpx.Response) -> bool:
    return "json" in response.headers.get("content-type", "")


def _failure(url: str, response: httpx.Response) -> Exception:
    """Return the error for a response that isn't 2xx."""
    status, detail = response.status_code, _detail(response)
    message = f"Label Studio at {url} answered {status}{detail and f' ({detail})'}."
    if status in (401, 403):
        return TokenRefused(_refusal(url, response))
    if status == 404:
        return NotThere(f"{message} Run: curator annotate status") if detail else _not_label_studio(url)
    if status == 429:
        return _TryAgain(message, LabelStudioFailed, None, arrived=False, pause=_retry_after(response))
    if status >= 500:
        return _TryAgain(f"{message} Look at its log, then run the same command again.", LabelStudioFailed, None)
    if status in (301, 302, 307, 308):
        location = response.headers.get("location", "")
        return Unreachable(f"{url} sends us on to {location}. Name that address with --url.")
    if status == 409:
        return Refused(f"{message} Something else changes it at the same time: run the same command again.")
    return Refused(message)


def _refusal(url: str, response: httpx.Response) -> str:
    detail = _detail(response)
    return (
        f"Label Studio at {url} refuses the token, {response.status_code}{detail and f' ({detail})'}. "
        "Set LABEL_STUDIO_API_KEY to a valid one: Account & Settings in Label Studio has it."
    )


def _detail(response: httpx.Response) -> str:
    """Return Label Studio's reason for a failure on one line, shortened; "" if the body isn't its JSON."""
    try:
        body = response.json()
    except ValueError:
        return ""
    if not isinstance(body, dict):
        return ""
    parts = [str(body.get("detail") or "")]
    for field, problems in (body.get("validation_errors") or {}).items():
        parts.append(f"{field}: {problems[0] if isinstance(problems, list) and problems else problems}")
    text = " ".join(" ".join(part for part in parts if part).split()).rstrip(".")
    return text if len(text) <= 300 else f"{text[:297]}..."


def _retry_after(response: httpx.Response) -> float:
    seconds = response.headers.get("retry-after", "")
    return min(float(seconds), 60.0) if seconds.isdigit() else 5.0


def _is_exchanged(error: httpx.HTTPError) -> bool:
    """Return whether a failure came after the exchange of tokens, so that the request itself may have arrived."""
    return error.request.url.path != REFRESH_PATH


def _is_local(url: str) -> bool:
    """Return whether a URL is this computer's: it is reached without the environment's proxy."""
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
