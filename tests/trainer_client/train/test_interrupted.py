"""A run that was killed or interrupted ends like one that was not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from schemas.run import RunReport
from tests.trainer_client.train.conftest import Stop, assert_same_run, config, stop_when
from trainer_client import train as training
from trainer_client.train import train
from trainer_client.train.checkpoint import checkpoint_name


@pytest.mark.parametrize(
    ("stage", "mark"),
    [
        ("training", "17/36"),  # In the middle of an epoch, after its first step.
        pytest.param("training", "24/36", marks=pytest.mark.slow),  # At the end of an epoch without a checkpoint.
        pytest.param(
            "saving", "1/3 epoch 1", marks=pytest.mark.slow
        ),  # With the state of epoch 1, but not its checkpoint.
        pytest.param("sampling", "16/24 epoch 1", marks=pytest.mark.slow),
        pytest.param("evaluating", "epoch 3", marks=pytest.mark.slow),
        pytest.param("sampling", "epoch 0", marks=pytest.mark.slow),  # Before there is any state.
    ],
)
def test_a_run_that_broke_off_anywhere_ends_like_one_that_did_not(
    whole: Path, folder: Path, snapshot: Path, base: Path, tmp_path: Path, stage: str, mark: str
) -> None:
    # A cache of its own where epoch 0 has to be drawn.
    cache = tmp_path if mark == "epoch 0" else folder / "cache"
    asked = config(folder, snapshot, base, "", out=tmp_path / "broken", cache=cache, state_every_seconds=0.0)
    with pytest.raises(Stop):
        train(asked, stop_when(stage, mark))
    assert RunReport.read(asked.output.out / "run.json").status == "interrupted"
    result = train(asked)
    assert (result.resumed, result.was_complete) == (mark != "epoch 0", False)
    assert_same_run(whole, asked.output.out)


@pytest.mark.slow
def test_a_run_killed_at_its_very_first_files_goes_on(
    folder: Path, snapshot: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but the lock, a half-written report, or the report is there before anything else is."""
    asked, out = config(folder, snapshot, base, "first", epochs=1, save_epochs=()), folder / "first"
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(training.Run, "_begin_files", lambda run: (_ for _ in ()).throw(Stop))
        train(asked)
    assert sorted(path.name for path in out.iterdir()) == ["run.json", "state"]
    (out / "run.json").rename(out / ".run.json.4711.tmp")
    assert train(asked).epochs == 1
    assert not list(out.glob(".*.tmp"))


@pytest.mark.slow
def test_a_moving_average_and_a_text_encoder_resume_too(
    folder: Path, snapshot: Path, base: Path, tmp_path: Path
) -> None:
    values: dict[str, Any] = {
        "ema": True,
        "train_text_encoder": True,
        "state_every_seconds": 0.0,
        "captions": "template",
    }
    train(config(folder, snapshot, base, "ema", **values))
    asked = config(folder, snapshot, base, "ema-broken", **values)
    with pytest.raises(Stop):
        train(asked, stop_when("training", "29/36"))
    train(asked)
    assert_same_run(folder / "ema", folder / "ema-broken")
    encoders = [
        load_file(folder / "ema" / checkpoint_name(epoch) / "text_encoder/model.safetensors") for epoch in (0, 3)
    ]
    assert any(not torch.equal(tensor, encoders[1][name]) for name, tensor in encoders[0].items())
