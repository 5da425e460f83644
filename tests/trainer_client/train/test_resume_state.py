"""The resume state, the folder's lock, stop requests, the base's cache."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import SafetensorError

from schemas.errors import BadDocument
from schemas.run import Cost
from trainer_client.evaluate.baseline import Baseline
from trainer_client.models.conventions import Conventions
from trainer_client.train.checkpoint import NotSaved
from trainer_client.train.resume_state import (
    FILE,
    Position,
    RunBusy,
    load_state,
    only_trainer,
    remove_state,
    save_state,
)
from trainer_client.train.stop_signals import StopRequest

COST = Cost(training_seconds=1, sampling_seconds=2, evaluating_seconds=3, preparing_seconds=4)
POSITION = Position(config_digest="d", epochs_done=2, steps_done=3, loss_sum=0.1 + 0.2, cost=COST)


def test_a_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    assert load_state(tmp_path, "cpu") is None
    tensors = {"weight/a": torch.randn(5), "average/a": torch.randn(3, 2)}
    save_state(tmp_path, POSITION, tensors)
    found = load_state(tmp_path, "cpu")
    assert found is not None
    assert found[0] == POSITION
    assert {name: tensor.tolist() for name, tensor in found[1].items()} == {n: t.tolist() for n, t in tensors.items()}
    remove_state(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_state_half_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_state(tmp_path, POSITION, {"weight/a": torch.ones(2)})

    def full_disk(tensors: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainer_client.train.resume_state.save_file", full_disk)
    with pytest.raises(NotSaved, match="No space"):
        save_state(tmp_path, POSITION.model_copy(update={"epochs_done": 9}), {"weight/a": torch.zeros(2)})
    found = load_state(tmp_path, "cpu")
    assert found is not None
    assert found[0] == POSITION
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["state.safetensors"]


def test_a_full_disk_is_one_line_whatever_the_writer_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(tensors: Any, path: Path, metadata: Any) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("trainer_client.train.resume_state.save_file", full_disk)
    with pytest.raises(NotSaved, match=r"state\.safetensors: can't be saved \(.*No space.*\)\. Free some space"):
        save_state(tmp_path, POSITION, {"weight/a": torch.ones(2)})


@pytest.mark.parametrize("content", [b"", b"no tensors here, and long enough for a header"])
def test_a_damaged_state_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(BadDocument, match=r"state\.safetensors: .* Delete it to train from the start"):
        load_state(tmp_path, "cpu")


def test_one_process_trains_in_a_folder(tmp_path: Path) -> None:
    def other_process() -> str:
        """What a fork of this process finds: a new one would load torch first."""
        answer, asking = os.pipe()
        if child := os.fork():
            os.close(asking)
            with os.fdopen(answer) as heard:
                said = heard.read()
            assert os.waitpid(child, 0)[1] == 0
            return said
        try:
            with only_trainer(tmp_path):
                os.write(asking, b"in")
        except RunBusy as error:
            os.write(asking, f"busy {error}".encode())
        finally:
            os._exit(0)

    with only_trainer(tmp_path):
        assert other_process().startswith("busy")
        with pytest.raises(RunBusy), only_trainer(tmp_path):
            pass
    assert other_process() == "in"


def test_the_first_signal_asks_and_a_later_one_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("trainer_client.train.stop_signals.SAME_REQUEST_SECONDS", 600.0)
    with StopRequest() as stop:
        stop.check()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            stop.check()
        os.kill(os.getpid(), signal.SIGINT)  # The same request: the terminal's, and torchrun's.
        monkeypatch.setattr("trainer_client.train.stop_signals.SAME_REQUEST_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_closed_terminal_asks_unless_hangups_are_ignored() -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.asked
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # As `nohup` does.
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.asked
    finally:
        signal.signal(signal.SIGHUP, before)


def baseline(tmp_path: Path, digest: str = "d") -> Baseline:
    usual = {"device": torch.device("cpu"), "dtype": torch.float32, "resolution_px": 16, "conventions": Conventions()}
    family: Any = SimpleNamespace(digest=digest, **usual)
    method: Any = SimpleNamespace(family=family, start={})
    return Baseline(tmp_path, method, "white")


def test_the_bases_losses_are_measured_once(tmp_path: Path) -> None:
    calls: list[int] = []

    def measure(pairs: list[tuple[str, str]]) -> dict[tuple[str, str], list[float]]:
        calls.append(len(pairs))
        return {pair: [0.1 * number, 0.2] for number, pair in enumerate(pairs)}

    pairs = [("a", "one"), ("b", "two")]
    first = baseline(tmp_path).losses(pairs, 4, measure)
    assert baseline(tmp_path).losses(pairs, 4, measure) == first
    assert calls == [2]
    for other in (baseline(tmp_path, "e").losses(pairs, 4, measure), baseline(tmp_path).losses(pairs, 3, measure)):
        assert other == first
    assert calls == [2, 2, 2]  # Another base, other timesteps: measured anew.
    for kept in (tmp_path / "base").iterdir():
        kept.write_text("[0.1")
    assert baseline(tmp_path).losses(pairs, 4, measure) == first
    assert len(calls) == 4


def test_the_bases_pictures_are_drawn_once(tmp_path: Path) -> None:
    drawn: list[Path] = []

    def draw(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(path)
        drawn.append(path)

    one, two, three = (tmp_path / run / "grids/epoch-000.png" for run in ("one", "two", "three"))
    baseline(tmp_path).picture(one, {"prompts": ["a"]}, draw)
    baseline(tmp_path).picture(two, {"prompts": ["a"]}, draw)
    baseline(tmp_path).picture(three, {"prompts": ["b"]}, draw)
    assert drawn == [one, three]
    assert two.read_bytes() == one.read_bytes()


def test_a_damaged_picture_of_the_base_is_drawn_again(tmp_path: Path) -> None:
    drawn: list[Path] = []

    def draw(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(path)
        drawn.append(path)

    one, two = tmp_path / "one.png", tmp_path / "two.png"
    baseline(tmp_path).picture(one, {"prompts": ["a"]}, draw)
    kept = next((tmp_path / "base").glob("*.png"))
    kept.write_bytes(kept.read_bytes()[:-30])
    baseline(tmp_path).picture(two, {"prompts": ["a"]}, draw)
    assert drawn == [one, two] and kept.read_bytes() == one.read_bytes() == two.read_bytes()
