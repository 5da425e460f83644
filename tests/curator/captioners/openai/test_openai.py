"""The machine of the strategy `openai`, against a real server on loopback that misbehaves in every way servers do."""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import openai
import pytest
from PIL import Image
from pydantic import ValidationError

from curator.captioners import openai as strategy
from curator.captioners.model import CannotCaption, Item, MachineFailed, Written
from curator.captioners.openai.captioner import OpenAIMachine
from curator.captioners.openai.endpoint import find_endpoint
from curator.captioners.openai.errors import fault_of
from curator.captioners.openai.options import Options
from curator.captioners.openai.rate_limit import Pace
from schemas.errors import BadOption
from tests.curator.captioners.openai.fake_endpoint import Asked, Endpoint, Reply, fails, says, serving

KEY = "sk-secret-0123456789abcdef"
Respond = Callable[[Asked], Reply]
LATE = Reply({}, after_s=3)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "OPENAI_BASE_URL",
        "OPENAI_ORG_ID",
        "OPENAI_PROJECT_ID",
        "OPENAI_ADMIN_KEY",
        "HTTP_PROXY",
        "ALL_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    """Pictures of different colours; the field `name` tells them apart at the server."""
    return [_item(tmp_path, number) for number in range(12)]


def _item(folder: Path, number: int, size: tuple[int, int] = (40, 30), **fields: Any) -> Item:
    path = folder / f"{number}.png"
    Image.new("RGB", size, (20 * number, 90, 10)).save(path)
    return Item(f"{number:064x}", str(path), {"name": f"picture {number}", **fields})


@contextmanager
def asking(respond: Respond, **options: Any) -> Iterator[tuple[OpenAIMachine, Endpoint]]:
    """A machine whose endpoint answers by `respond`; impatient, so that tests are fast."""
    with serving(respond) as endpoint:
        usual = {"model": "m", "base_url": endpoint.url, "prompt": "Describe ${name}", "back_off_s": 0.01, "retries": 3}
        made = strategy.machine(Options(**{**usual, **options}))
        assert isinstance(made, OpenAIMachine)
        with closing(made) as machine:
            yield machine, endpoint


def write(machine: OpenAIMachine, items: Sequence[Item]) -> list[Written]:
    return machine.write(items, [machine.prepare(item) for item in items])


def echo(asked: Asked) -> Reply:
    return says(asked.prompt.removeprefix("Describe "))


def once(fault: Reply) -> Respond:
    """The fault for each picture's first request, a good answer for its second."""
    seen: set[str] = set()

    def respond(asked: Asked) -> Reply:
        if asked.prompt in seen:
            return echo(asked)
        seen.add(asked.prompt)
        return fault

    return respond


# ---- what is sent, and what comes back


def test_captions_come_back_in_order_though_answers_do_not(items: list[Item]) -> None:
    def respond(asked: Asked) -> Reply:
        reply = echo(asked)
        return Reply(reply.body, after_s=0.05 * (asked.number % 3 == 0))

    with asking(respond, concurrency=4) as (machine, endpoint):
        written = write(machine, items)
        assert [one.text for one in written] == [f"picture {number}" for number in range(12)]
        assert endpoint.most_at_once <= 4
        assert {asked.path for asked in endpoint.asked} == {"/v1/chat/completions"}


def test_concurrency_is_used_and_kept(items: list[Item]) -> None:
    together = threading.Barrier(6)

    def respond(asked: Asked) -> Reply:
        together.wait(20)  # answers only where six are asked at a time
        return Reply(echo(asked).body, after_s=0.02)

    with asking(respond, concurrency=6) as (machine, endpoint):
        assert all(one.text for one in write(machine, items))
        assert endpoint.most_at_once == 6
        assert machine.batch_size == 24


def test_a_request_holds_what_the_options_say_and_nothing_else(items: list[Item]) -> None:
    options = {"system": "Be brief.", "max_tokens": 50, "temperature": 0.2, "seed": 7, "detail": "low"}
    with asking(echo, **options) as (machine, endpoint):
        write(machine, items[:1])
        body = dict(endpoint.asked[0].body)
        assert endpoint.asked[0].prompt == "Describe picture 0"
        assert endpoint.asked[0].parts[1]["image_url"]["detail"] == "low"
        assert body.pop("messages")[0] == {"role": "system", "content": "Be brief."}
        assert body == {"model": "m", "max_tokens": 50, "temperature": 0.2, "seed": 7}
    with asking(echo) as (machine, endpoint):
        write(machine, items[:1])
        assert set(endpoint.asked[0].body) == {"model", "messages", "max_tokens"}
        assert len(endpoint.asked[0].body["messages"]) == 1


def test_pictures_are_sent_small_upright_on_white_and_without_metadata(tmp_path: Path) -> None:
    large = Image.new("RGBA", (600, 200), (255, 0, 0, 0))
    large.paste((0, 0, 255, 255), (0, 0, 300, 200))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    exif[0x010E] = "where I live"
    path = tmp_path / "large.png"
    large.save(path, exif=exif)
    with asking(echo, max_side_px=150) as (machine, endpoint):
        write(machine, [Item("0" * 64, str(path), {"name": "x"}), _item(tmp_path, 1)])
        first, second = sorted((asked.picture for asked in endpoint.asked), key=lambda picture: -picture.height)
    assert first.size == (50, 150)
    assert first.getpixel((25, 140)) == pytest.approx((255, 255, 255), abs=8)
    assert first.getpixel((25, 10)) == pytest.approx((0, 0, 255), abs=8)
    assert second.size == (40, 30), "never enlarged"
    assert not first.getexif()


def test_tokens_and_cost_are_counted_also_where_no_caption_comes_of_it(items: list[Item]) -> None:
    replies = [says("A cat.", tokens=(1000, 20)), says(None, refusal="I can't.", tokens=(1000, 5))]
    prices = {"price_per_million_input": 2.0, "price_per_million_output": 10.0}
    with asking(lambda asked: replies[asked.number], concurrency=1, **prices) as (machine, _):
        caption, refused = write(machine, items[:2])
    assert (caption.input_tokens, caption.output_tokens) == (1000, 20)
    assert caption.cost_usd == pytest.approx(0.0022)
    assert refused == Written(None, "the model refused to describe it", 1000, 5, pytest.approx(0.00205))


@pytest.mark.parametrize(
    ("unfinished", "text", "reason"),
    [
        ("sentence", "A cat.", None),
        ("keep", "A cat. It sits on", None),
        ("fail", None, "cut off at max_tokens=300"),
    ],
)
def test_an_answer_that_was_cut_off(items: list[Item], unfinished: str, text: str | None, reason: str | None) -> None:
    with asking(lambda asked: says("A cat. It sits on", "length"), unfinished=unfinished) as (machine, _):
        (written,) = write(machine, items[:1])
    assert (written.text, written.reason) == (text, reason)


def test_answers_without_a_caption(items: list[Item]) -> None:
    replies = {
        "picture 0": says(""),
        "picture 1": says(None, "content_filter"),
        "picture 2": says("<think>Hm. A cat?</think>\n\nA cat."),
        "picture 3": says("<think>Hm. A cat? Or a", "length"),
        "picture 4": fails(400, "Your request was rejected", code="content_policy_violation"),
        "picture 5": fails(413, "large"),
        "picture 6": says("A dog."),
    }
    with asking(lambda asked: replies[echo(asked).body["choices"][0]["message"]["content"]]) as (machine, endpoint):
        written = write(machine, items[:7])
        assert len(endpoint.asked) == 7, "nothing of this gets better by asking again"
    assert [one.text for one in written] == [None, None, "A cat.", None, None, None, "A dog."]
    assert [one.reason for one in written if one.text is None] == [
        "the model wrote nothing",
        "refused by the endpoint's content filter",
        "the model thought until its tokens ran out; raise the limit",
        "refused by the endpoint's content filter",
        "too large for the endpoint: lower max_side_px",
    ]


def test_a_prompt_of_fields_that_the_image_lacks(items: list[Item]) -> None:
    with (
        asking(echo, prompt="Describe ${title}") as (machine, _),
        pytest.raises(CannotCaption, match="the prompt asks for title, and the image has none"),
    ):
        machine.prepare(items[0])


# ---- faults that pass


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
    with asking(once(fault), **patience) as (machine, endpoint):
        written = write(machine, items[:3])
        assert [one.text for one in written] == ["picture 0", "picture 1", "picture 2"]
        assert len(endpoint.asked) == 6


def test_retry_after_holds_everyone(items: list[Item]) -> None:
    def respond(asked: Asked) -> Reply:
        return fails(429, headers={"retry-after": "0.5"}) if asked.number == 0 else echo(asked)

    with asking(respond, concurrency=1) as (machine, endpoint):
        assert all(one.text for one in write(machine, items[:4]))
        first, *others = [asked.at_s for asked in endpoint.asked]
        assert len(others) == 4
        assert min(others) - first >= 0.5


def test_back_off_grows(items: list[Item]) -> None:
    with asking(lambda asked: fails(500) if asked.number < 3 else echo(asked), back_off_s=0.1) as (machine, endpoint):
        assert write(machine, items[:1])[0].text == "picture 0"
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

    def times(self, pace: Pace, count: int, tokens: int = 0, hold_after: int | None = None) -> list[float]:
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
    assert clock.times(Pace(None, None), 4) == [0, 0, 0, 0]
    assert clock.times(Pace(30, None), 4) == [0, 2, 4, 6]
    assert clock.times(Pace(30, None), 4, hold_after=1) == [0, 2, 102, 104]


def test_tokens_per_minute_count_what_was_really_used(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    assert clock.times(Pace(None, 6000), 4, tokens=500) == [0, 5, 10, 15]
    assert clock.times(Pace(None, 6000), 4, tokens=3000) == [0, 30, 60, 90]
    assert clock.times(Pace(60, 6000), 3, tokens=50) == [0, 1, 2], "the stricter of two limits"


def test_a_rate_limit_reaches_the_server(items: list[Item]) -> None:
    with asking(echo, requests_per_minute=600) as (machine, endpoint):
        started = time.monotonic()
        write(machine, items[:6])
        assert endpoint.asked[-1].at_s - started >= 0.49


def test_an_image_that_keeps_failing_is_a_reason_while_others_succeed(items: list[Item]) -> None:
    def respond(asked: Asked) -> Reply:
        return fails(500) if asked.prompt.endswith("picture 1") else echo(asked)

    with asking(respond, retries=2) as (machine, endpoint):
        written = write(machine, items[:3])
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

    with asking(respond, concurrency=1) as (machine, endpoint):
        assert all(one.text for one in write(machine, items[:3]))
        assert len(endpoint.asked) == 4


# ---- faults that don't


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            fails(401, f"Incorrect API key provided: {KEY}"),
            "127.0.0.1 doesn't take the key in OPENAI_API_KEY: check it.",
        ),
        (fails(402, "pay"), "quota is used up (pay)"),
        (fails(403, f"not for {KEY}"), "doesn't allow this with the key in OPENAI_API_KEY: not for ***"),
        (fails(404, "no model m"), "knows no model 'm' there"),
        (fails(429, "You exceeded your current quota", code="insufficient_quota"), "quota is used up"),
        (fails(429, headers={"retry-after": "7200"}), "takes nothing more for 7,200 s"),
        (fails(400, "bad temperature", code="unsupported_value"), "doesn't take one of the options: bad temperature"),
        (
            fails(403, f"not for {KEY[:14]}...{KEY[-8:]}"),
            "doesn't allow this with the key in OPENAI_API_KEY: not for ***...***",
        ),
        (fails(400, f"what is {KEY}"), "answered none of 12 questions: the endpoint refused it (400: what is ***)"),
        (fails(500), "answered none of 12 questions: the endpoint failed (500)"),
        (Reply(None, hangs_up=True), "answered none of 12 questions: the connection broke off"),
        (Reply(b"x", 200), "answered none of 12 questions: the endpoint's answer isn't a chat completion"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else "",
)
def test_what_no_image_would_survive_stops_the_run_in_one_line(items: list[Item], fault: Reply, said: str) -> None:
    with asking(lambda asked: fault, retries=1) as (machine, _), pytest.raises(MachineFailed) as raised:
        write(machine, items)
    message = str(raised.value)
    assert said in message
    assert KEY not in message and KEY[:14] not in message
    assert "\n" not in message


def test_no_server(items: list[Item]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        machine = strategy.machine(Options(model="m", base_url=url))
        started = time.perf_counter()
        with closing(machine), pytest.raises(MachineFailed, match=rf"nothing answers at {url} .*is the server running"):
            machine.write(items[:1], [machine.prepare(items[0])])
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

    with asking(respond, concurrency=1) as (machine, endpoint):
        written = write(machine, items[:6])
        assert [one.text for one in written[:3]] == ["picture 0", "picture 1", "picture 2"]
        assert all("quota is used up" in str(one.reason) for one in written[3:])
        asked = len(endpoint.asked)
        with pytest.raises(MachineFailed, match="quota is used up"):
            write(machine, items[6:])
        assert len(endpoint.asked) == asked


def test_one_bad_image_in_a_later_batch_is_no_pattern(items: list[Item]) -> None:
    def respond(asked: Asked) -> Reply:
        return fails(400, "can't read the image") if asked.prompt.endswith("picture 4") else echo(asked)

    with asking(respond) as (machine, _):
        assert all(one.text for one in write(machine, items[:4]))
        (bad,) = write(machine, items[4:5])
        assert bad.reason == "the endpoint refused it (400: can't read the image)"
    with asking(respond) as (machine, _):
        assert write(machine, items[4:5])[0].text is None, "alone, and the first: still the image"


# ---- the key


def test_the_key_goes_to_the_endpoint_alone(items: list[Item], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")
    monkeypatch.setenv("OTHER_KEY", "sk-other")
    with asking(echo, key_env="OTHER_KEY") as (machine, endpoint):
        write(machine, items[:1])
        headers = endpoint.asked[0].headers
    assert headers["authorization"] == "Bearer sk-other"
    assert not [value for value in headers.values() if "admin" in value or "org-mine" in value or KEY in value]
    assert "sk-other" not in repr(machine.endpoint)


def test_without_a_key_none_is_sent(items: list[Item], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with asking(echo) as (machine, endpoint):
        write(machine, items[:1])
        assert "authorization" not in endpoint.asked[0].headers
    with asking(lambda asked: fails(401)) as (machine, _), pytest.raises(MachineFailed, match="export OPENAI_API_KEY"):
        write(machine, items[:1])


def test_openai_itself_wants_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    options = Options(model="gpt")
    with pytest.raises(BadOption, match=r"api.openai.com wants a key.*export OPENAI_API_KEY="):
        strategy.machine(options)
    assert strategy.model(options).revision == "api.openai.com", "an unchanged set needs no key"


def test_a_key_over_http_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def warnings(url: str) -> list[str]:
        return strategy.warnings(Options(model="m", base_url=url))

    assert warnings("https://example.org/v1") == []
    assert warnings("http://localhost:8000/v1") == []
    assert warnings("http://[::1]:8000/v1") == []
    (warning,) = warnings("http://192.168.0.7:8000/v1")
    assert "OPENAI_API_KEY goes to 192.168.0.7 unencrypted" in warning
    monkeypatch.setenv("OPENAI_BASE_URL", "http://example.org/v1/")
    (warning,) = strategy.warnings(Options(model="m"))
    assert KEY not in warning
    assert strategy.model(Options(model="m")).revision == "example.org"
    monkeypatch.delenv("OPENAI_API_KEY")
    assert warnings("http://192.168.0.7:8000/v1") == []


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": f"https://me:{KEY}@example.org/v1"},
        {"base_url": f"https://example.org/v1?key={KEY}"},
        {"base_url": f"ftp://{KEY}"},
        {"key_env": KEY},
        {"api_key": KEY},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_key_among_the_options_is_refused_and_not_repeated(options: dict[str, str]) -> None:
    from curator import captioners

    captioner = captioners.load("openai")
    with pytest.raises(BadOption) as raised:
        captioners.parse_options(captioner, {"model": "m", **options})
    assert KEY not in str(raised.value)


def test_a_bad_address_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"https://me:{KEY}@example.org")
    with pytest.raises(BadOption, match="OPENAI_BASE_URL: no user") as raised:
        strategy.machine(Options(model="m"))
    assert KEY not in str(raised.value)


def test_prompts_are_checked_before_anything_is_sent() -> None:
    with pytest.raises(ValidationError, match="there is no filter 'shout'"):
        Options(model="m", prompt="${name|shout}")
    options = Options(model="m", prompt="${name} and ${group}", system="${name} ${year}")
    assert strategy.fields(options, []) == ["name", "group", "year"]


# ---- stopping


@pytest.mark.slow
def test_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    """In a process of its own: requests hang, the rate limit holds, and it ends all the same."""
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    program = """
import sys
from curator.captioners import openai as strategy
from curator.captioners.model import Item
machine = strategy.machine(strategy.Options(model="m", base_url=sys.argv[1], concurrency=4))
items = [Item(f"{number:064x}", sys.argv[2]) for number in range(8)]
prepared = [machine.prepare(item) for item in items]
print("ready", flush=True)
try:
    machine.write(items, prepared)
except KeyboardInterrupt:
    machine.close()
    print("stopped", flush=True)
"""
    arrived = threading.Event()

    def hang(asked: Asked) -> Reply:
        if asked.number == 2:
            arrived.set()
        return Reply({}, after_s=0.1) if asked.number == 3 else fails(429, headers={"retry-after": "100"})

    with serving(hang) as endpoint:
        command = [sys.executable, "-c", program, endpoint.url, str(tmp_path / "x.png")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert arrived.wait(30)
        time.sleep(0.2)
        started = time.perf_counter()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert time.perf_counter() - started < 50  # the rate limit holds for 100 s
    assert out.split() == ["ready", "stopped"]
    assert "Traceback" not in err
