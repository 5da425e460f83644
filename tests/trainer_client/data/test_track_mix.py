"""Several tracks mixed by weight: which caption an image has in an epoch, and under which names losses are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from schemas.errors import BadOption
from schemas.run import RunReport
from tests.trainer_client.conftest import write_snapshot
from tests.trainer_client.train.conftest import config as run_config
from tests.trainer_client.train.test_learning import prepared
from trainer_client.data import track_mix
from trainer_client.data.batches import make_batch
from trainer_client.data.snapshot import Snapshot
from trainer_client.sample.prompts import default_prompts
from trainer_client.train import train

EVERYTHING = list(range(12))
MIX = "template:0.7,human:0.3"


@pytest.fixture(scope="module")
def gaps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every third image has no human caption, the second no template."""

    def caption(split: str, number: int) -> dict[str, str | None]:
        human = None if number % 3 == 0 else f"human {number} {split}"
        return {"template": None if number == 1 else f"template {number} {split}", "human": human}

    return write_snapshot(tmp_path_factory.mktemp("gaps"), caption=caption)


@pytest.mark.parametrize("asked", [MIX, "human:3, template:7", "template:1.4,human:0.6"])
def test_a_mix_has_one_name_however_it_is_written(snapshot: Path, asked: str) -> None:
    opened = Snapshot.open(snapshot)
    shares = track_mix.parse_shares(asked, opened)
    assert shares == {"template": 0.7, "human": 0.3}
    name, mixed = track_mix.with_mix(opened, shares)
    assert name == MIX
    assert mixed.tracks == ["template", "human", MIX]
    assert track_mix.parse_shares(name, mixed) == shares
    assert default_prompts(mixed) == default_prompts(opened)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("template:0.7,humam:0.3", "no caption track `humam`.*Did you mean `human`"),
        ("template:0.7,human", "no weight above 0|no caption track"),
        ("template:0.7,human:none", "'human:none' has no weight above 0"),
        ("template:0,human:1", "'template:0' has no weight above 0"),
        ("template:1,template:2", "template is given twice"),
    ],
)
def test_a_bad_mix_is_refused(snapshot: Path, asked: str, message: str) -> None:
    with pytest.raises(BadOption, match=message):
        track_mix.parse_shares(asked, Snapshot.open(snapshot))


def test_every_epoch_draws_a_track_for_each_image_by_weight(snapshot: Path, base: Path, tmp_path: Path) -> None:
    run = prepared(snapshot, base, tmp_path, captions=MIX)
    rows = {row.sha256: row.captions for row in run.snapshot.rows("train")}
    from_template, per_image = 0, torch.zeros(12)
    for epoch in range(1, 101):
        drawn = make_batch(run.family, run.data, epoch, EVERYTHING)
        words = [run.data.caption_texts[place] for place in drawn.captions_B.tolist()]
        for place, (name, caption) in enumerate(zip(run.data.sha256s, words, strict=True)):
            assert caption in (rows[name]["template"], rows[name]["human"])
            from_template += caption == rows[name]["template"]
            per_image[place] += caption == rows[name]["template"]
    assert 0.66 < from_template / 1200 < 0.74
    assert 45 < float(per_image.min()) <= float(per_image.max()) < 95
    backwards = make_batch(run.family, run.data, 100, EVERYTHING[::-1])
    assert torch.equal(backwards.captions_B.flip(0), drawn.captions_B)


def test_a_mix_trains_on_the_noise_of_its_tracks(snapshot: Path, base: Path, tmp_path: Path) -> None:
    runs = [prepared(snapshot, base, tmp_path, captions=track) for track in (MIX, "human")]
    one, other = (make_batch(run.family, run.data, 1, EVERYTHING) for run in runs)
    assert torch.equal(one.noisy_BCHW, other.noisy_BCHW)
    assert runs[0].report.prompts == runs[1].report.prompts


def test_an_image_without_one_caption_uses_the_others(gaps: Path, base: Path, tmp_path: Path) -> None:
    run = prepared(gaps, base, tmp_path, captions="template:1,human:1")
    rows = {row.sha256: row.captions for row in run.snapshot.rows("train")}
    seen: dict[str, set[str]] = {}
    for epoch in range(1, 30):
        drawn = make_batch(run.family, run.data, epoch, EVERYTHING)
        for name, place in zip(run.data.sha256s, drawn.captions_B.tolist(), strict=True):
            seen.setdefault(name, set()).add(run.data.caption_texts[place])
    for name, words in seen.items():
        captions = rows[name]
        assert words == {captions[track] for track in ("template", "human") if captions[track] is not None}
    assert run.report.truncation.captions == 32 - 6 - 2  # Of four in three held-out and twelve training images.


def test_where_no_track_has_a_caption_the_mix_is_refused(base: Path, tmp_path: Path) -> None:
    def caption(split: str, number: int) -> dict[str, str | None]:
        return {"template": None, "human": None} if number == 2 else {"template": "a", "human": "b"}

    snapshot = write_snapshot(tmp_path / "none", caption=caption)
    with pytest.raises(BadOption, match=r"1 of 12 training images have no caption in `template:0.5,human:0.5`"):
        prepared(snapshot, base, tmp_path, captions="template:1,human:1")


def test_the_report_of_a_mix(snapshot: Path, base: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a red car\n")
    values: dict[str, Any] = {"captions": "human:3,template:7", "epochs": 2, "save_epochs": (), "seeds": (1,)}
    asked = run_config(tmp_path, snapshot, base, "mixed", **values)
    train(asked)
    report = RunReport.read(tmp_path / "mixed" / "run.json")
    assert report.captions == report.config["captions"] == MIX
    evaluation = report.checkpoints[-1].evaluation
    assert evaluation is not None
    assert set(evaluation.held_out) == {"template", "human", MIX}
    assert set(evaluation.train_subset) == {MIX}
    by_image = zip(*(evaluation.held_out[track] for track in (MIX, "template", "human")), strict=True)
    assert all(own in (template, human) for own, template, human in by_image)
    assert report.stopping is not None
    card = (tmp_path / "mixed" / "checkpoints" / "epoch-002" / "README.md").read_text()
    assert "| `template` | drawn/template@1 |" in card
    assert "| `human` | drawn/human@1 |" in card
    assert train(asked).was_complete
    json.dumps(report.model_dump(mode="json"))
