"""When training stopped paying: the plateau, its words, and patience that ends a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import BadOption
from schemas.run import RunReport
from tests.trainer_client.compare.synthetic_runs import Plan, make_run
from tests.trainer_client.conftest import write_snapshot
from trainer_client.config import TrainConfig
from trainer_client.train import train
from trainer_client.train.early_stopping import Plateau, judge, out_of_patience, plateau
from trainer_client.train.summary import summarise, text_of_run

IMAGES = 8


def losses(*levels: float) -> list[list[float]]:
    """A checkpoint for each level: images differ much, and all follow the level."""
    return [[level + 0.05 * image for image in range(IMAGES)] for level in levels]


def at(epochs: tuple[int, ...], *levels: float) -> dict[int, list[float]]:
    return dict(zip(epochs, losses(*levels), strict=True))


def test_the_plateau_is_the_first_checkpoint_that_none_betters() -> None:
    found = plateau(at((0, 1, 5, 15), 0.5, 0.4, 0.3, 0.3))
    assert found is not None
    assert tuple(found) == (5, False, None)


def test_a_run_that_still_improves_and_one_that_gets_worse() -> None:
    improving, worse = plateau(at((0, 1, 5), 0.5, 0.4, 0.3)), plateau(at((0, 1, 5), 0.5, 0.4, 0.45))
    assert improving is not None and tuple(improving) == (5, True, None)
    assert worse is not None and tuple(worse) == (1, False, 5)


EPOCHS = (0, 1, 2, 5, 15, 30, 45, 60, 70, 100)


def noisy(levels: list[float], runs: int, images: int = 16) -> list[Plateau]:
    """Verdicts on runs whose checkpoints have these levels, and chance that differs by checkpoint and image."""
    generator = np.random.default_rng(7)
    found = []
    for _ in range(runs):
        image_I = generator.normal(0.2, 0.08, images)
        curve = {
            epoch: (image_I + level + generator.normal(0, 0.01, images)).tolist()
            for epoch, level in zip(EPOCHS, levels, strict=True)
        }
        verdict = plateau(curve)
        assert verdict is not None
        found.append(verdict)
    return found


def test_chance_is_neither_a_gain_nor_a_loss() -> None:
    """Nine later checkpoints have nine chances: one by one, 17% of such runs gained and 25% got worse."""
    found = noisy([0.0] * 10, 60)
    assert sum(verdict.epoch > 0 for verdict in found) <= 5
    assert sum(verdict.worse_from is not None for verdict in found) <= 3


def test_a_bump_that_later_checkpoints_make_up_for_is_not_worse_from_there() -> None:
    found = plateau(at((0, 1, 5, 15, 30), 0.5, 0.4, 0.6, 0.4, 0.4))
    assert found is not None and tuple(found) == (1, False, None)
    fallen = [0, -0.02, -0.04, -0.06, -0.08]
    bumps = noisy([*fallen, -0.04, -0.08, -0.08, -0.08, -0.08], 20)
    assert 30 not in {verdict.worse_from for verdict in bumps}
    rising = noisy([*fallen, -0.08, -0.06, -0.04, -0.02, 0.0], 20)
    assert {verdict.epoch for verdict in rising} <= {15, 30} and {verdict.worse_from for verdict in rising} <= {45, 60}


def test_one_checkpoint_says_nothing() -> None:
    assert plateau(at((0,), 0.5)) is None and plateau({}) is None


def test_the_report_says_it_in_words_and_marks_the_best(tmp_path: Path) -> None:
    report = make_run(tmp_path / "run", Plan(epochs=(0, 1, 3, 9), learns=0.05))
    verdict = judge(report)
    assert verdict is not None
    assert verdict.best_epoch == verdict.plateau_epoch == 9 and verdict.still_improving
    assert verdict.finding.startswith("Still improving at epoch 9")
    flat = judge(make_run(tmp_path / "flat", Plan(epochs=(0, 1, 3), learns=0.0)))
    assert flat is not None and flat.finding.startswith("No significant gain over the base (held-out loss, 95%")


def test_few_images_say_so(tmp_path: Path) -> None:
    verdict = judge(make_run(tmp_path / "run", Plan(held_out=3)))
    assert verdict is not None and verdict.finding.startswith("Too few held-out images (3)")


def test_patience_counts_checkpoints_after_the_plateau(tmp_path: Path) -> None:
    flat = make_run(tmp_path / "flat", Plan(epochs=(0, 1, 3), learns=0.0))
    assert out_of_patience(flat, 2) and not out_of_patience(flat, 3) and not out_of_patience(flat, None)
    improving = make_run(tmp_path / "improving", Plan(epochs=(0, 1, 3), learns=0.05))
    assert not out_of_patience(improving, 1)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight training and six held-out pictures."""
    words = {"train": "red", "validation": "blue"}
    return write_snapshot(
        tmp_path_factory.mktemp("six"), 8, 6, lambda split, number: {"human": f"{words[split]} {number}"}, ("human",)
    )


def config(folder: Path, snapshot: Path, base: Path, **values: Any) -> TrainConfig:
    (folder / "prompts.txt").write_text("a red fox\n", encoding="utf-8")
    settings: dict[str, Any] = {
        "epochs": 6,
        "save_epochs": (1, 2, 3, 4, 5),
        "prompts": folder / "prompts.txt",
        "seeds": (1,),
        "sample_steps": 1,
        "learning_rate": 1e-12,  # Nothing to gain.
        "eval_timesteps": 2,
        "out": folder / "run",
        "cache": folder / "cache",
    }
    return TrainConfig.of(snapshot=snapshot, base=str(base), **(settings | values))


@pytest.mark.slow
def test_patience_ends_a_run_that_gains_nothing(tmp_path: Path, held_out: Path, base: Path) -> None:
    asked = config(tmp_path, held_out, base, patience=2)
    result = train(asked)
    report = RunReport.read(tmp_path / "run" / "run.json")
    assert (report.status, [point.epoch for point in report.checkpoints]) == ("complete", [0, 1, 2])
    assert report.stopping is not None and report.stopping.stopped_early
    assert "Stopped at epoch 2: --patience ran out." in text_of_run(result)
    assert not (tmp_path / "run" / "state").exists()
    assert train(asked).was_complete


def test_the_last_epoch_is_no_early_stop(tmp_path: Path, held_out: Path, base: Path) -> None:
    result = train(config(tmp_path, held_out, base, epochs=2, save_epochs=(1,), patience=2))
    assert result.epochs == 2 and result.stopping is not None and not result.stopping.stopped_early


def test_what_a_person_reads_has_intervals_gap_and_noise_levels(tmp_path: Path, held_out: Path, base: Path) -> None:
    result = train(config(tmp_path, held_out, base, epochs=4, save_epochs=(1,), learning_rate=3e-3))
    assert [level.timestep for level in result.noise_levels] == [250, 750]
    best = next(line for line in result.checkpoints if line.best)
    assert best.epoch > 0 and best.held_out_change is not None and best.gap is not None
    changes = [level.change.mean for level in result.noise_levels if level.change]
    assert sum(changes) / 2 == pytest.approx(best.held_out_change.mean)
    text = text_of_run(summarise(RunReport.read(tmp_path / "run" / "run.json"), tmp_path / "run"))
    assert "against the base (95%)" in text and "Gap to the training images" in text and "By timestep" in text


def test_patience_without_enough_held_out_images_is_refused(tmp_path: Path, snapshot: Path, base: Path) -> None:
    asked = config(tmp_path, snapshot, base, patience=2, captions="human")
    with pytest.raises(BadOption, match=r"--patience 2: .*`human`, of which 4 are measured; 5 are the least"):
        train(asked)
    assert not (tmp_path / "run").exists()
