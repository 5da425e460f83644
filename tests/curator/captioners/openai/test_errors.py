"""Faults of an endpoint: retries, rate limits, what stops a run."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from contextlib import closing
from email.utils import formatdate

import openai
import pytest

from curator.captioners import openai as strategy
from curator.captioners.model import CannotCaption, Item, MachineFailed
from curator.captioners.openai.endpoint import find_endpoint
from curator.captioners.openai.errors import fault_of
from curator.captioners.openai.options import Options
from curator.captioners.openai.rate_limit import RateLimit
from tests.curator.captioners.openai.conftest import KEY
from tests.curator.captioners.openai.fake_endpoint import Asked, Reply, fails
from tests.curator.captioners.openai.test_openai import LATE, asking, echo, once, run


def test_a_prompt_of_fields_that_the_image_lacks(items: list[Item]) -> None:
    with (
        asking(echo, prompt="Describe ${title}") as (model, _),
        pytest.raises(CannotCaption, match="the prompt asks for title, and the image has none"),
    ):
        model.preprocess(items[0])


@pytest.mark.parametrize(
    "fault",
    [
        fails(500),
        fails(503, headers={"retry-after": "0.02"}),
        fails(429),
        fails(429, headers={"retry-after-ms": "20"}),
        fails(429, headers={"retry-after": formatdate(time.time() - 5, usegmt=True)}),
        fails(408),
        Reply(b"{broken", 200),
        Reply(b"<html>Bad gateway</html>", 200, {"content-type": "text/html"}),
        Reply({"something": "else"}, 200),
        Reply({"choices": []}, 200),
        Reply(None, hangs_up=True),
        LATE,
    ],
    ids=lambda fault: f"{fault.status}-{str(fault.body)[:12]}-{list(fault.headers)[:1]}",
)
def test_a_passing_fault_costs_a_second_request(items: list[Item], fault: Reply) -> None:
    patience = {"timeout_s": 1} if fault is LATE else {}
    with asking(once(fault), **patience) as (model, endpoint):
        written = run(model, items[:3])
        assert [one.text for one in written] == ["picture 0", "picture 1", "picture 2"]
        assert len(endpoint.asked) == 6


def test_retry_after_holds_everyone(items: list[Item]) -> None:
    def respond(asked: Asked) -> Reply:
        return fails(429, headers={"retry-after": "0.5"}) if asked.number == 0 else echo(asked)

    with asking(respond, concurrency=1) as (model, endpoint):
        assert all(one.text for one in run(model, items[:4]))
        first, *others = [asked.at_s for asked in endpoint.asked]
        assert len(others) == 4
        assert min(others) - first >= 0.5


def test_back_off_grows(items: list[Item]) -> None:
    with asking(lambda asked: fails(500) if asked.number < 3 else echo(asked), back_off_s=0.1) as (model, endpoint):
        assert run(model, items[:1])[0].text == "picture 0"
        times = [asked.at_s for asked in endpoint.asked]
    waits = [after - before for before, after in itertools.pairwise(times)]
    assert waits[0] >= 0.05
    assert waits[1] >= 0.1
    assert waits[2] >= 0.2


class Clock:
    """Time that passes only where someone sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr("curator.captioners.openai.rate_limit.time.monotonic", lambda: self.now_s)
        monkeypatch.setattr("curator.captioners.openai.rate_limit.asyncio.sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def times(self, pace: RateLimit, count: int, tokens: int = 0, hold_after: int | None = None) -> list[float]:
        """When each of `count` requests went, in seconds from the first; each takes `tokens`."""

        async def go() -> list[float]:
            went = []
            for number in range(count):
                set_aside = await pace.turn()
                went.append(self.now_s)
                pace.used(set_aside, tokens)
                if number == hold_after:
                    pace.hold(100)
            return [round(moment - went[0], 3) for moment in went]

        return asyncio.run(go())


def test_requests_per_minute_are_spaced_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    assert clock.times(RateLimit(None, None), 4) == [0, 0, 0, 0]
    assert clock.times(RateLimit(30, None), 4) == [0, 2, 4, 6]
    assert clock.times(RateLimit(30, None), 4, hold_after=1) == [0, 2, 102, 104]


def test_tokens_per_minute_count_what_was_really_used(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    assert clock.times(RateLimit(None, 6000), 4, tokens=500) == [0, 5, 10, 15]
    assert clock.times(RateLimit(None, 6000), 4, tokens=3000) == [0, 30, 60, 90]
    assert clock.times(RateLimit(60, 6000), 3, tokens=50) == [0, 1, 2], "the stricter of two limits"


def test_a_rate_limit_reaches_the_server(items: list[Item]) -> None:
    with asking(echo, requests_per_minute=600) as (model, endpoint):
        started = time.monotonic()
        run(model, items[:6])
        assert endpoint.asked[-1].at_s - started >= 0.49


def test_an_image_that_keeps_failing_is_a_reason_while_others_succeed(items: list[Item]) -> None:
    def respond(asked: Asked) -> Reply:
        return fails(500) if asked.prompt.endswith("picture 1") else echo(asked)

    with asking(respond, retries=2) as (model, endpoint):
        written = run(model, items[:3])
        assert [one.text for one in written] == ["picture 0", None, "picture 2"]
        assert written[1].reason == "the endpoint failed (500), 3 times"
        assert len(endpoint.asked) == 5


def test_a_model_that_knows_max_tokens_by_another_name(items: list[Item]) -> None:
    def respond(asked: Asked) -> Reply:
        if "max_tokens" in asked.body:
            return fails(400, "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                         code="unsupported_parameter", param="max_tokens")  # fmt: skip
        assert asked.body["max_completion_tokens"] == 300
        return echo(asked)

    with asking(respond, concurrency=1) as (model, endpoint):
        assert all(one.text for one in run(model, items[:3]))
        assert len(endpoint.asked) == 4


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            fails(401, f"Incorrect API key provided: {KEY}"),
            "127.0.0.1 rejects the key in OPENAI_API_KEY: check it.",
        ),
        (fails(402, "pay"), "quota is used up (pay)"),
        (fails(403, f"not for {KEY}"), "doesn't allow this with the key in OPENAI_API_KEY: not for ***"),
        (fails(404, "no model m"), "has no model 'm'"),
        (fails(429, "You exceeded your current quota", code="insufficient_quota"), "quota is used up"),
        (fails(429, headers={"retry-after": "7200"}), "takes no requests for 7,200 s"),
        (fails(400, "bad temperature", code="unsupported_value"), "rejects an option: bad temperature"),
        (
            fails(403, f"not for {KEY[:14]}...{KEY[-8:]}"),
            "doesn't allow this with the key in OPENAI_API_KEY: not for ***...***",
        ),
        (fails(400, f"what is {KEY}"), "answered none of 12 requests: the endpoint refused it (400: what is ***)"),
        (fails(500), "answered none of 12 requests: the endpoint failed (500)"),
        (Reply(None, hangs_up=True), "answered none of 12 requests: the connection was lost"),
        (Reply(b"x", 200), "answered none of 12 requests: the endpoint's answer isn't a chat completion"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else "",
)
def test_what_no_image_would_survive_stops_the_run_in_one_line(items: list[Item], fault: Reply, said: str) -> None:
    with asking(lambda asked: fault, retries=1) as (model, _), pytest.raises(MachineFailed) as raised:
        run(model, items)
    message = str(raised.value)
    assert said in message
    assert KEY not in message and KEY[:14] not in message
    assert "\n" not in message


def test_no_server(items: list[Item]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        model = strategy.load_model(Options(model="m", base_url=url))
        started = time.perf_counter()
        with closing(model), pytest.raises(MachineFailed, match=rf"nothing answers at {url} .*is the server running"):
            model.generate(items[:1], [model.preprocess(items[0])])
        assert time.perf_counter() - started < 30  # with every retry it waits for minutes


def test_a_server_behind_a_wall() -> None:
    """A connection that comes to nothing isn't an answer that takes its time."""

    class ConnectTimeout(Exception):
        pass

    error = openai.APITimeoutError(request=None)  # type: ignore[arg-type]
    endpoint = find_endpoint("https://example.org/v1", "OPENAI_API_KEY")
    assert not fault_of(error, endpoint, "m").unreachable
    error.__cause__ = ConnectTimeout()
    assert fault_of(error, endpoint, "m").unreachable


def test_answers_that_are_paid_for_are_kept_when_the_quota_ends(items: list[Item]) -> None:
    def respond(asked: Asked) -> Reply:
        return echo(asked) if asked.number < 3 else fails(429, "no", code="insufficient_quota")

    with asking(respond, concurrency=1) as (model, endpoint):
        written = run(model, items[:6])
        assert [one.text for one in written[:3]] == ["picture 0", "picture 1", "picture 2"]
        assert all("quota is used up" in str(one.reason) for one in written[3:])
        asked = len(endpoint.asked)
        with pytest.raises(MachineFailed, match="quota is used up"):
            run(model, items[6:])
        assert len(endpoint.asked) == asked


def test_one_bad_image_in_a_later_batch_is_no_pattern(items: list[Item]) -> None:
    def respond(asked: Asked) -> Reply:
        return fails(400, "can't read the image") if asked.prompt.endswith("picture 4") else echo(asked)

    with asking(respond) as (model, _):
        assert all(one.text for one in run(model, items[:4]))
        (bad,) = run(model, items[4:5])
        assert bad.reason == "the endpoint refused it (400: can't read the image)"
    with asking(respond) as (model, _):
        assert run(model, items[4:5])[0].text is None, "alone, and the first: still the image"
