"""`curator caption --strategy openai` as a person runs it, against a server on loopback; and no key is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.curator.captioners.openai.fake_endpoint import Asked, Endpoint, Reply, fails, says, serving

KEY = "sk-very-secret-0123456789"


class Shell:
    """Commands in processes of their own; `seen` collects all they print."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen = folder, ""
        hidden = ("OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY")
        self.environment = {name: value for name, value in os.environ.items() if name not in hidden} | {
            "CURATOR_CATALOG": str(folder / "lab.duckdb"),
            "OPENAI_API_KEY": KEY,
            "OPENAI_LOG": "debug",  # the client's own log, as chatty as it gets
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "curator", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=self.environment)

    def ended(self, process: subprocess.Popen[str], code: int = 0) -> str:
        out, err = process.communicate(timeout=100)
        self.seen += out + err
        assert process.returncode == code, out + err
        return out if code == 0 else err

    def curator(self, *arguments: str, code: int = 0) -> str:
        return self.ended(self.start(*arguments), code)

    def caption(self, endpoint: Endpoint, *more: str, code: int = 0) -> str:
        where = ("-o", "model=m", "-o", f"base_url={endpoint.url}", "-o", "prompt=Describe ${name}")
        return self.curator("caption", "zoo", "--strategy", "openai", "--set", "seen", *where, *more, code=code)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    folder = tmp_path_factory.mktemp("lab")
    rows = ["file_name,name"]
    (folder / "zoo").mkdir()
    for number in range(10):
        Image.new("RGB", (64, 48), (25 * number, 255 - 25 * number, 9)).save(folder / "zoo" / f"{number}.png")
        rows.append(f"{number}.png,animal {number}")
    (folder / "about.csv").write_text("\n".join(rows))
    shell = Shell(folder)
    shell.curator("init")
    about = ("--metadata", str(folder / "about.csv"), "--join-on", "file_name")
    shell.curator("ingest", str(folder / "zoo"), "--dataset", "zoo", *about)
    return shell


def echo(asked: Asked) -> Reply:
    return says(f"It shows {asked.prompt.removeprefix('Describe ')}.", tokens=(100, 10))


@pytest.mark.slow
def test_from_a_refused_key_to_a_whole_set(shell: Shell) -> None:
    """One story: a wrong key, Ctrl-C, one image refused, the rest, nothing more to do; then a search for the key."""
    with serving(lambda asked: fails(401, f"Incorrect API key provided: {KEY}")) as endpoint:
        said = shell.caption(endpoint, code=1)
        assert "openai: 127.0.0.1 rejects the key in OPENAI_API_KEY: check it." in said
        assert "Traceback" not in said

    waiting = threading.Event()

    def slow_after_two(asked: Asked) -> Reply:
        if asked.number >= 3:
            waiting.set()
            return Reply(echo(asked).body, after_s=120)
        return echo(asked)

    with serving(slow_after_two) as endpoint:
        more = ("-o", f"base_url={endpoint.url}", "-o", "concurrency=1", "-o", "batch_size=2", "-o", "model=m")
        process = shell.start(
            "caption", "zoo", "--strategy", "openai", "--set", "seen", "-o", "prompt=Describe ${name}", *more
        )
        assert waiting.wait(120)
        time.sleep(0.3)
        started = time.perf_counter()
        process.send_signal(signal.SIGINT)
        assert "Traceback" not in shell.ended(process, 130)
        assert time.perf_counter() - started < 60  # the answer it waits for takes twice as long

    def one_refused(asked: Asked) -> Reply:
        return fails(400, "no", code="content_filter") if asked.prompt.endswith("7") else echo(asked)

    with serving(one_refused) as endpoint:
        prices = ("-o", "price_per_million_input=1000", "-o", "price_per_million_output=10000")
        result = json.loads(shell.caption(endpoint, *prices, "--json"))
        assert (result["unchanged"], result["new"]) == (2, 7), "the batch that was finished before Ctrl-C is kept"
        assert result["failed"] == {"refused by the endpoint's content filter": 1}
        assert result["effort"]["cost_usd"] == pytest.approx(7 * 0.2)
        assert (result["effort"]["input_tokens"], result["effort"]["output_tokens"]) == (700, 70)

    with serving(echo) as endpoint:
        assert "1  new" in shell.caption(endpoint, "-o", "concurrency=3", "-o", "retries=1")
        assert [asked.prompt for asked in endpoint.asked] == ["Describe animal 7"]
        assert endpoint.asked[0].headers["authorization"] == f"Bearer {KEY}"
        assert "10  unchanged" in shell.caption(endpoint)
        assert len(endpoint.asked) == 1, "pace and address don't ask anew"
    history = shell.curator("history", "3.png")
    assert "It shows animal 3." in history
    assert "m at 127.0.0.1" in history

    assert KEY not in shell.seen
    for path in shell.folder.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), f"{path} has the key"
