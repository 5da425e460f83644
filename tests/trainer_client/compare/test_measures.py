"""The measures against figures worked out by hand, and intervals against what is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from schemas.run import Evaluation
from tests.trainer_client.compare.synthetic_runs import Plan, make_run
from trainer_client.compare import compare
from trainer_client.compare.measures import paying
from trainer_client.compare.runs import Run
from trainer_client.evaluate.bootstrap import above_zero, below_zero, change, difference, estimate


def test_estimate_of_equal_values_has_no_width() -> None:
    value = estimate([0.25] * 9)
    assert value is not None
    assert (value.mean, value.count) == (0.25, 9)
    assert value.low == pytest.approx(0.25) and value.high == pytest.approx(0.25)


def test_estimate_of_nothing_is_none() -> None:
    assert estimate([]) is None and change([], []) is None and difference([], np.array([1.0])) is None


def test_interval_is_about_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(2, 1, 400)
    value = estimate(values)
    assert value is not None
    error = values.std() / 20
    assert value.low == pytest.approx(value.mean - 1.96 * error, abs=0.25 * error)
    assert value.high == pytest.approx(value.mean + 1.96 * error, abs=0.25 * error)


@pytest.mark.parametrize(("images", "least"), [(5, 0.88), (10, 0.92), (40, 0.92)])
def test_interval_covers_the_truth_about_as_often_as_it_says(images: int, least: float) -> None:
    """Plain percentiles do 84% of the time with 5 images, 90% with 10."""
    generator = np.random.default_rng(3)
    estimates = [estimate(generator.normal(0, 1, images)) for _ in range(600)]
    covered = sum(value is not None and value.low <= 0 <= value.high for value in estimates)
    assert least <= covered / 600 <= 0.98


def test_intervals_of_several_comparisons_are_wider() -> None:
    values = np.random.default_rng(5).normal(0, 1, 32)
    one, nine = estimate(values), estimate(values, comparisons=9)
    assert one is not None and nine is not None
    assert nine.low < one.low < one.high < nine.high and nine.mean == one.mean


def test_the_same_values_give_the_same_interval() -> None:
    values = np.random.default_rng(2).normal(0, 1, 16)
    assert estimate(values) == estimate(values.tolist())


def test_pairing_takes_the_images_out() -> None:
    images = np.random.default_rng(4).normal(0.15, 0.05, 16)
    paired, apart = change((images - 0.01).tolist(), images.tolist()), difference(images - 0.01, images)
    assert paired is not None and apart is not None
    assert below_zero(paired) and not below_zero(apart)
    assert paired.mean == pytest.approx(-0.01) and apart.mean == pytest.approx(-0.01)


def test_four_images_show_nothing_clearly() -> None:
    assert not above_zero(estimate([1.0, 1.1, 1.0, 1.2])) and above_zero(estimate([1.0, 1.1, 1.0, 1.2, 1.0]))


def run_with(tmp_path: Path, by_epoch: Mapping[int, Sequence[float]], shuffled: float = 0.01) -> Run:
    """A run on template captions with these held-out losses."""
    folder = tmp_path / "run"
    make_run(folder, Plan(epochs=tuple(by_epoch), held_out=len(next(iter(by_epoch.values())))))
    run = Run.open(folder)
    checkpoints = []
    for point in run.report.checkpoints:
        losses = list(by_epoch[point.epoch])
        evaluation = Evaluation(
            held_out={"template": losses},
            held_out_shuffled={"template": [loss + shuffled for loss in losses]},
            train_subset={"template": [0.5 - 0.01 * point.epoch] * 12},
            leakage=[0.1, 0.3],
        )
        checkpoints.append(point.model_copy(update={"evaluation": evaluation}))
    report = run.report.model_copy(update={"checkpoints": checkpoints})
    report.write(folder / "run.json")
    return Run.open(folder)


def test_measures_of_a_run_by_hand(tmp_path: Path) -> None:
    run = run_with(tmp_path, {0: [0.4, 0.2] * 4, 2: [0.3, 0.16] * 4})
    point = compare([run.folder], tmp_path / "r.html").groups[0].runs[0].epochs[1]
    assert point.held_out_change["template"].mean == pytest.approx(-0.07)
    assert point.reliance["template"].mean == pytest.approx(0.01)
    assert point.train_subset_change is not None and point.train_subset_change.mean == pytest.approx(-0.02)
    assert point.gap is not None and point.gap.mean == pytest.approx(-0.05)
    assert point.leakage is not None and point.leakage.mean == pytest.approx(0.2)
    assert point.steps == 16
    assert point.seconds == pytest.approx(2 * 10 + 2 * (2 + 1))  # two epochs, two checkpoints drawn and measured
    assert point.cost is None


def test_cost_is_seconds_at_a_price(tmp_path: Path) -> None:
    report = make_run(tmp_path / "a", Plan())
    report.model_copy(update={"cost": report.cost.model_copy(update={"price_per_hour": 3.6})}).write(
        tmp_path / "a" / "run.json"
    )
    point = compare([tmp_path / "a"], tmp_path / "r.html").groups[0].runs[0].epochs[-1]
    assert point.cost == pytest.approx(point.seconds / 1000)


FALLING = [0.20, 0.21, 0.19, 0.22, 0.20, 0.18]


def shifted(by: float) -> list[float]:
    return [loss + by for loss in FALLING]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({0: 0, 1: -0.02, 2: -0.05, 5: -0.05, 9: -0.05}, (2, False, None)),
        ({0: 0, 1: -0.02, 2: -0.05}, (2, True, None)),
        ({0: 0, 1: -0.05, 2: -0.05, 5: -0.01}, (1, False, 5)),
        ({0: 0, 1: 0.01, 2: 0.02}, (0, False, 1)),
        ({0: 0, 1: -0.02, 2: 0.01, 5: -0.04, 9: -0.03}, (5, False, 9)),
    ],
)
def test_where_training_stops_paying(
    tmp_path: Path, changes: dict[int, float], expected: tuple[int, bool, int | None]
) -> None:
    assert paying(run_with(tmp_path, {epoch: shifted(by) for epoch, by in changes.items()})) == expected


def test_a_dip_that_chance_explains_is_no_gain(tmp_path: Path) -> None:
    noise = np.random.default_rng(5).normal(0, 0.02, 6)
    later = [loss + wobble for loss, wobble in zip(shifted(-0.03), noise - noise.mean() - 0.001, strict=True)]
    assert paying(run_with(tmp_path, {0: FALLING, 1: shifted(-0.03), 2: later}))[0] == 1


def test_without_a_base_there_is_no_change_but_reliance(tmp_path: Path) -> None:
    make_run(tmp_path / "a", Plan(epochs=(1, 3)))
    point = compare([tmp_path / "a"], tmp_path / "r.html").groups[0].runs[0].epochs[0]
    assert point.held_out_change == {} and point.train_subset_change is None and point.gap is None
    assert set(point.reliance) == {"template", "human"}
