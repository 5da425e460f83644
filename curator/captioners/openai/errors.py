"""Classify a failed request: retry it, fail this image, or stop the run."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import openai

from curator.captioners.openai.endpoint import Endpoint

MAX_WAIT_S = 300.0  # a longer wait stops the run
# Parts of servers' messages, in lower case.
FILTER_WORDS = ("content_filter", "content_policy", "content policy", "moderation", "flagged", "safety system")
QUOTA_WORDS = ("insufficient_quota", "exceeded your current quota", "billing", "credit")
OPTION_WORDS = (
    "unsupported_parameter", "unsupported_value", "unsupported parameter", "unsupported value", "unrecognized"
)  # fmt: skip
FILTERED = "refused by the endpoint's content filter"

Verdict = Literal["retry", "image", "endpoint"]


class NotACompletion(Exception):
    """The server's answer is not a chat completion."""


@dataclass(frozen=True)
class Fault:
    """A classified error. `wait_s`: the pause that the server asks for; `blames_request`: the server refused the input;
    `unreachable`: nothing answers at the address.
    """

    verdict: Verdict
    reason: str
    wait_s: float | None = None
    blames_request: bool = False
    unreachable: bool = False


def fault_of(error: Exception, endpoint: Endpoint, model: str) -> Fault:
    """Classify what a request raised. Reasons are short, because equal ones are counted together."""
    if isinstance(error, openai.APIStatusError):
        return _status_fault(error, endpoint, model)
    if isinstance(error, openai.APIConnectionError):
        return _connection_fault(error, endpoint)
    if isinstance(error, TimeoutError):
        return Fault("retry", "no answer in time")
    if isinstance(error, NotACompletion | openai.APIResponseValidationError | json.JSONDecodeError):
        return Fault("retry", "the endpoint's answer isn't a chat completion")
    return Fault("endpoint", endpoint.without_key(f"{type(error).__name__}: {error}"))


def _connection_fault(error: openai.APIConnectionError, endpoint: Endpoint) -> Fault:
    cause = error.__cause__
    kind = type(cause).__name__  # an exception of the HTTP library that openai uses
    if kind not in {"ConnectError", "ConnectTimeout"}:
        timed_out = isinstance(error, openai.APITimeoutError)
        return Fault("retry", "no answer in time" if timed_out else "the connection was lost")
    detail = endpoint.without_key(str(cause)) or kind
    reason = f"nothing answers at {endpoint.base_url} ({detail}): is the server running? -o base_url=... names another"
    return Fault("retry", reason, unreachable=True)


def _status_fault(error: openai.APIStatusError, endpoint: Endpoint, model: str) -> Fault:
    status, message = error.status_code, endpoint.without_key(_message(error))
    details = f"{error.code or ''} {error.type or ''} {message}".lower()
    if status in {400, 403, 422} and any(word in details for word in FILTER_WORDS):
        return Fault("image", FILTERED)
    if status == 401:
        refused = f"{endpoint.host} rejects the key in {endpoint.key_env}: check it"
        return Fault("endpoint", endpoint.missing_key if endpoint.key is None else refused)
    if status == 402 or (status == 429 and any(word in details for word in QUOTA_WORDS)):
        return Fault("endpoint", f"{endpoint.host}: the account's quota is used up ({message}). Top it up and go on")
    if status == 403:
        return Fault("endpoint", f"{endpoint.host} doesn't allow this with the key in {endpoint.key_env}: {message}")
    if status == 404:
        address = f"is {endpoint.base_url} the API's address (it usually ends in /v1)?"
        return Fault("endpoint", f"{endpoint.host} has no model {model!r}, or {address} It says: {message}")
    if status == 429:
        return _rate_limited(error.response.headers, endpoint)
    if status in {408, 409} or status >= 500:
        return Fault("retry", f"the endpoint failed ({status})", _retry_after(error.response.headers))
    if status == 413:
        return Fault("image", "too large for the endpoint: lower max_side_px", blames_request=True)
    if any(word in details for word in OPTION_WORDS):
        return Fault("endpoint", f"{endpoint.host} rejects an option: {message}")
    return Fault("image", f"the endpoint refused it ({status}: {message})", blames_request=True)


def _message(error: openai.APIStatusError) -> str:
    body = error.body
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        message = inner.get("message") if isinstance(inner, Mapping) else inner
        return str(message or body.get("detail") or "")
    return str(body or "")


def _rate_limited(headers: Mapping[str, str], endpoint: Endpoint) -> Fault:
    wait_s = _retry_after(headers)
    if wait_s is not None and wait_s > MAX_WAIT_S:
        return Fault("endpoint", f"{endpoint.host} takes no requests for {wait_s:,.0f} s: run the same command then")
    return Fault("retry", "the endpoint's rate limit", wait_s)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of `retry-after-ms`, or of `Retry-After` in seconds or as a date (RFC 9110, 10.2.3)."""
    for name, unit_s in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit_s
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    return None if date is None else max(0.0, email.utils.mktime_tz(date) - time.time())
