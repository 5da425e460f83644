"""A base on the hub: had when the hub gives it, kept when it doesn't any more, and refused in seconds and one line."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import NotFound
from tests.trainer_client.models.hub_server import Hub, serving
from tests.trainer_client.models.single_file import write_single_file
from trainer_client import load_model
from trainer_client.memorisation.likeness import model_features
from trainer_client.models import hub
from trainer_client.models.weights import locate

NAME = "some-org/some-model"


@pytest.fixture
def server(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The base as `some-org/some-model`, an empty cache, and nobody logged in."""
    with serving(base, NAME) as (address, state):
        point_to(monkeypatch, address, tmp_path)
        yield state


def point_to(monkeypatch: pytest.MonkeyPatch, address: str, folder: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
    monkeypatch.setattr(hub, "ASK_SECONDS", 60.0)  # what answers may be slow at it
    monkeypatch.delenv("HF_TOKEN", raising=False)


WORDS = {
    "no such model": r"no such folder here, no such model on the hub\. Check the name, .*`hf auth login` if it is",
    "deleted": r"no such folder here, no such model on the hub",
    "no such revision": r"the hub has it, but not its revision v9\. Check --revision",
    "no such file": r"the hub has it, but no model_index\.json in it",
    "gated": r"gated on the hub\. Accept its terms at http://127\S+/some-org/some-model and log in with `hf auth",
    "wrong token": r"the hub refuses it without a login \(HTTP 401\)\. Check the name, and log in",
    "disabled": r"disabled on the hub",
    "broken": r"no such folder here, not in the hub's cache, and the hub \(http://127\S+\) answers with HTTP 500",
    "busy": r".* answers with HTTP 429\. Check the name, try again later",
    "hangs": r".* doesn't answer within 0\.3 s\. Check the name, the network and HF_ENDPOINT",
}


@pytest.mark.parametrize("answer", WORDS)
def test_a_refusal_is_one_line_that_says_what_to_do(answer: str, server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answer = answer
    if answer == "hangs":
        monkeypatch.setattr(hub, "ASK_SECONDS", 0.3)
    with pytest.raises(NotFound, match=f"^--base {NAME}: {WORDS[answer]}") as caught:
        locate(NAME, "v9")
    assert str(caught.value).endswith(", or give a local folder.") and "\n" not in str(caught.value)
    ends = time.monotonic() + 60
    while not server.asked and time.monotonic() < ends:
        time.sleep(0.01)  # one that isn't waited for is noted in the end
    assert server.asked == [f"HEAD {NAME}/resolve/v9/model_index.json"], "once"


def test_no_network(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point_to(monkeypatch, "http://127.0.0.1:9", tmp_path)
    with pytest.raises(NotFound, match=r"the hub \(http://127\.0\.0\.1:9\) can't be reached\. Check"):
        locate(NAME)
    with pytest.raises(NotFound, match=r"^--features some-org/some-model: no such folder here, not in the hub's cache"):
        model_features(NAME, None)  # type: ignore[arg-type]
    with pytest.raises(NotFound, match=r"^--base some org/x: no such folder, and not a valid hub name"):
        locate("some org/x")


def test_a_token_that_the_hub_does_not_take(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_yesterday")
    server.answer = "wrong token"
    with pytest.raises(NotFound, match=r"the hub refuses your token \(HTTP 401\)\. Check the name, and log in"):
        locate(NAME)


def test_offline_mode(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(NotFound, match=r"HF_HUB_OFFLINE is set\. Check the name, unset HF_HUB_OFF"):
        locate(NAME)
    assert server.asked == []


def test_a_single_file_whose_configuration_would_come_from_the_hub(
    base: Path, server: Hub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_to(monkeypatch, "http://127.0.0.1:9", tmp_path)
    file = write_single_file(base, tmp_path / "model.safetensors")
    with pytest.raises(NotFound, match=r"from the hub \(the hub \(http://127\.0\.0\.1:9\) can't be reached\)\. Give"):
        load_model.load(str(file))


DOWNLOAD = "import sys; from trainer_client.models.weights import locate; print(locate(sys.argv[1]))"


@pytest.mark.slow
def test_what_the_hub_gave_is_there_when_it_does_not_give_it_any_more(base: Path, tmp_path: Path) -> None:
    """By the hub's own client from end to end; in other processes, since it reads its settings when it's imported."""
    with serving(base, NAME) as (address, state):
        environment = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}

        def located() -> Path:
            command = [sys.executable, "-c", DOWNLOAD, NAME]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, done.stderr
            return Path(done.stdout.strip())

        there = located()
        assert (there / "model_index.json").read_bytes() == (base / "model_index.json").read_bytes()
        assert {path.name for path in (there / "unet").iterdir()} == {path.name for path in (base / "unet").iterdir()}
        for answer in ("deleted", "hangs"):
            state.answer, state.asked = answer, []
            assert located() == there
            assert len(state.asked) == 1, "and then the cache"


@pytest.mark.slow
def test_the_command_ends_within_seconds(snapshot: Path, base: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trainer_client", "train", str(snapshot), "--captions", "template"]
    command += ["--base", "some-org/no-such-model", "--out", str(tmp_path / "run")]
    with serving(base, "no-such-model") as (address, state):
        state.answer = "hangs"
        environment = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf")}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    *_, last = done.stderr.splitlines()
    assert done.returncode == 1 and last.startswith("Error: --base some-org/no-such-model: no such folder here, not in")
    assert "Traceback" not in done.stderr and not (tmp_path / "run").exists()
