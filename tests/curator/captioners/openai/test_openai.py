"""The strategy `openai`, against a real server on loopback that misbehaves in every way servers do."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from curator.captioners import openai as strategy
from curator.captioners.model import Item, MachineFailed, Output
from curator.captioners.openai.captioner import OpenAIModel
from curator.captioners.openai.options import Options
from schemas.errors import BadOption
from tests.curator.captioners.openai.conftest import KEY, _item
from tests.curator.captioners.openai.fake_endpoint import Asked, Endpoint, Reply, fails, says, serving

Respond = Callable[[Asked], Reply]
LATE = Reply({}, after_s=3)


@contextmanager
def asking(respond: Respond, **options: Any) -> Iterator[tuple[OpenAIModel, Endpoint]]:
    """A model whose endpoint answers by `respond`; impatient, so that tests are fast."""
    with serving(respond) as endpoint:
        usual = {"model": "m", "base_url": endpoint.url, "prompt": "Describe ${name}", "back_off_s": 0.01, "retries": 3}
        made = strategy.load_model(Options(**{**usual, **options}))
        assert isinstance(made, OpenAIModel)
        with closing(made) as model:
            yield model, endpoint


def run(model: OpenAIModel, items: Sequence[Item]) -> list[Output]:
    return model.generate(items, [model.preprocess(item) for item in items])


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

    with asking(respond, concurrency=4) as (model, endpoint):
        written = run(model, items)
        assert [one.text for one in written] == [f"picture {number}" for number in range(12)]
        assert endpoint.most_at_once <= 4
        assert {asked.path for asked in endpoint.asked} == {"/v1/chat/completions"}


def test_concurrency_is_used_and_kept(items: list[Item]) -> None:
    together = threading.Barrier(6)

    def respond(asked: Asked) -> Reply:
        together.wait(20)  # answers only where six are asked at a time
        return Reply(echo(asked).body, after_s=0.02)

    with asking(respond, concurrency=6) as (model, endpoint):
        assert all(one.text for one in run(model, items))
        assert endpoint.most_at_once == 6
        assert model.batch_size == 24


def test_a_request_holds_what_the_options_say_and_nothing_else(items: list[Item]) -> None:
    options = {"system": "Be brief.", "max_tokens": 50, "temperature": 0.2, "seed": 7, "detail": "low"}
    with asking(echo, **options) as (model, endpoint):
        run(model, items[:1])
        body = dict(endpoint.asked[0].body)
        assert endpoint.asked[0].prompt == "Describe picture 0"
        assert endpoint.asked[0].parts[1]["image_url"]["detail"] == "low"
        assert body.pop("messages")[0] == {"role": "system", "content": "Be brief."}
        assert body == {"model": "m", "max_tokens": 50, "temperature": 0.2, "seed": 7}
    with asking(echo) as (model, endpoint):
        run(model, items[:1])
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
    with asking(echo, max_side_px=150) as (model, endpoint):
        run(model, [Item("0" * 64, str(path), {"name": "x"}), _item(tmp_path, 1)])
        first, second = sorted((asked.picture for asked in endpoint.asked), key=lambda picture: -picture.height)
    assert first.size == (50, 150)
    assert first.getpixel((25, 140)) == pytest.approx((255, 255, 255), abs=8)
    assert first.getpixel((25, 10)) == pytest.approx((0, 0, 255), abs=8)
    assert second.size == (40, 30), "never enlarged"
    assert not first.getexif()


def test_tokens_and_cost_are_counted_also_where_no_caption_comes_of_it(items: list[Item]) -> None:
    replies = [says("A cat.", tokens=(1000, 20)), says(None, refusal="I can't.", tokens=(1000, 5))]
    prices = {"price_per_million_input": 2.0, "price_per_million_output": 10.0}
    with asking(lambda asked: replies[asked.number], concurrency=1, **prices) as (model, _):
        caption, refused = run(model, items[:2])
    assert (caption.input_tokens, caption.output_tokens) == (1000, 20)
    assert caption.cost_usd == pytest.approx(0.0022)
    assert refused == Output(None, "the model refused to describe it", 1000, 5, pytest.approx(0.00205))


@pytest.mark.parametrize(
    ("unfinished", "text", "reason"),
    [
        ("sentence", "A cat.", None),
        ("keep", "A cat. It sits on", None),
        ("fail", None, "cut off at max_tokens=300"),
    ],
)
def test_an_answer_that_was_cut_off(items: list[Item], unfinished: str, text: str | None, reason: str | None) -> None:
    with asking(lambda asked: says("A cat. It sits on", "length"), unfinished=unfinished) as (model, _):
        (written,) = run(model, items[:1])
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
    with asking(lambda asked: replies[echo(asked).body["choices"][0]["message"]["content"]]) as (model, endpoint):
        written = run(model, items[:7])
        assert len(endpoint.asked) == 7, "nothing of this gets better by asking again"
    assert [one.text for one in written] == [None, None, "A cat.", None, None, None, "A dog."]
    assert [one.reason for one in written if one.text is None] == [
        "the model wrote nothing",
        "refused by the endpoint's content filter",
        "the model's reasoning used up the token limit; raise it",
        "refused by the endpoint's content filter",
        "too large for the endpoint: lower max_side_px",
    ]


# ---- faults that pass


# ---- faults that don't


# ---- the key


def test_the_key_goes_to_the_endpoint_alone(items: list[Item], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")
    monkeypatch.setenv("OTHER_KEY", "sk-other")
    with asking(echo, key_env="OTHER_KEY") as (model, endpoint):
        run(model, items[:1])
        headers = endpoint.asked[0].headers
    assert headers["authorization"] == "Bearer sk-other"
    assert not [value for value in headers.values() if "admin" in value or "org-mine" in value or KEY in value]
    assert "sk-other" not in repr(model.endpoint)


def test_without_a_key_none_is_sent(items: list[Item], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with asking(echo) as (model, endpoint):
        run(model, items[:1])
        assert "authorization" not in endpoint.asked[0].headers
    with asking(lambda asked: fails(401)) as (model, _), pytest.raises(MachineFailed, match="export OPENAI_API_KEY"):
        run(model, items[:1])


def test_openai_itself_wants_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    options = Options(model="gpt")
    with pytest.raises(BadOption, match=r"api.openai.com needs a key.*export OPENAI_API_KEY="):
        strategy.load_model(options)
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
        strategy.load_model(Options(model="m"))
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
model = strategy.load_model(strategy.Options(model="m", base_url=sys.argv[1], concurrency=4))
items = [Item(f"{number:064x}", sys.argv[2]) for number in range(8)]
prepared = [model.preprocess(item) for item in items]
print("ready", flush=True)
try:
    model.generate(items, prepared)
except KeyboardInterrupt:
    model.close()
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
