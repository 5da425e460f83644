"""What a failed request means: ask again, give this image up for now, or stop, since no image would fare better."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import openai

from curator.captioners.openai.endpoint import Endpoint

LONGEST_WAIT_S = 300.0  # a server that wants more is as good as closed: better to say so than to sit there
# What servers say of each, in small letters.
OF_FILTERS = ("content_filter", "content_policy", "content policy", "moderation", "flagged", "safety system")
OF_QUOTAS = ("insufficient_quota", "exceeded your current quota", "billing", "credit")
OF_OPTIONS = "unsupported_parameter", "unsupported_value", "unsupported parameter", "unsupported value", "unrecognized"
FILTERED = "refused by the endpoint's content filter"

Verdict = Literal["again", "image", "endpoint"]


class NotACompletion(Exception):
    """The server answered, but not with a chat completion."""


@dataclass(frozen=True)
class Fault:
    """`wait_s`: how long the server asks to be left alone. `blames_request`: it didn't like what was sent."""

    verdict: Verdict
    reason: str
    wait_s: float | None = None
    blames_request: bool = False
    unreachable: bool = False


def fault_of(error: Exception, endpoint: Endpoint, model: str) -> Fault:
    """Of anything a request raised. Reasons are short: they are counted."""
    if isinstance(error, openai.APIStatusError):
        return _of_status(error, endpoint, model)
    if isinstance(error, openai.APIConnectionError):
        return _of_connection(error, endpoint)
    if isinstance(error, TimeoutError):
        return Fault("again", "no answer in time")
    if isinstance(error, NotACompletion | openai.APIResponseValidationError | json.JSONDecodeError):
        return Fault("again", "the endpoint's answer isn't a chat completion")
    return Fault("endpoint", endpoint.without_key(f"{type(error).__name__}: {error}"))


def _of_connection(error: openai.APIConnectionError, endpoint: Endpoint) -> Fault:
    cause = error.__cause__
    kind = type(cause).__name__  # of the HTTP library that this version of openai is built on
    if kind not in {"ConnectError", "ConnectTimeout"}:
        timed_out = isinstance(error, openai.APITimeoutError)
        return Fault("again", "no answer in time" if timed_out else "the connection broke off")
    said = endpoint.without_key(str(cause)) or kind
    reason = f"nothing answers at {endpoint.base_url} ({said}): is the server running? -o base_url=... names another"
    return Fault("again", reason, unreachable=True)


def _of_status(error: openai.APIStatusError, endpoint: Endpoint, model: str) -> Fault:
    status, said = error.status_code, endpoint.without_key(_message(error))
    about = f"{error.code or ''} {error.type or ''} {said}".lower()
    if status in {400, 403, 422} and any(word in about for word in OF_FILTERS):
        return Fault("image", FILTERED)
    if status == 401:
        refused = f"{endpoint.host} doesn't take the key in {endpoint.key_env}: check it"
        return Fault("endpoint", endpoint.wants_a_key if endpoint.key is None else refused)
    if status == 402 or (status == 429 and any(word in about for word in OF_QUOTAS)):
        return Fault("endpoint", f"{endpoint.host}: the account's quota is used up ({said}). Top it up and go on")
    if status == 403:
        return Fault("endpoint", f"{endpoint.host} doesn't allow this with the key in {endpoint.key_env}: {said}")
    if status == 404:
        address = f"is {endpoint.base_url} the API's address (it mostly ends in /v1)?"
        return Fault("endpoint", f"{endpoint.host} knows no model {model!r} there, or {address} It says: {said}")
    if status == 429:
        return _rate_limited(error.response.headers, endpoint)
    if status in {408, 409} or status >= 500:
        return Fault("again", f"the endpoint failed ({status})", _retry_after(error.response.headers))
    if status == 413:
        return Fault("image", "too large for the endpoint: lower max_side_px", blames_request=True)
    if any(word in about for word in OF_OPTIONS):
        return Fault("endpoint", f"{endpoint.host} doesn't take one of the options: {said}")
    return Fault("image", f"the endpoint refused it ({status}: {said})", blames_request=True)


def _message(error: openai.APIStatusError) -> str:
    """What the server said, out of the forms it may have."""
    body = error.body
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        said = inner.get("message") if isinstance(inner, Mapping) else inner
        return str(said or body.get("detail") or "")
    return str(body or "")


def _rate_limited(headers: Mapping[str, str], endpoint: Endpoint) -> Fault:
    wait_s = _retry_after(headers)
    if wait_s is not None and wait_s > LONGEST_WAIT_S:
        return Fault("endpoint", f"{endpoint.host} takes nothing more for {wait_s:,.0f} s: run the same command then")
    return Fault("again", "the endpoint's rate limit", wait_s)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, by `retry-after-ms`, or `Retry-After` as seconds or a date (RFC 9110, 10.2.3)."""
    for name, unit_s in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit_s
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    return None if date is None else max(0.0, email.utils.mktime_tz(date) - time.time())
