"""Steps, learning rate and the moving average's decay."""

from __future__ import annotations

from typing import Any

import pytest

from trainer_client.config.parts import ScheduleOptions
from trainer_client.data.plan import Plan
from trainer_client.train.schedule import ema_decay, learning_rate, warmup_steps


def rate(plan: Plan, step: int, **options: Any) -> float:
    return learning_rate(1.0, ScheduleOptions(**options), plan, step)


def test_the_last_short_step_counts() -> None:
    plan = Plan(images=60, images_per_step=8, epochs=3)
    assert (plan.steps_per_epoch, plan.steps, plan.full_step_images) == (8, 24, 8)
    assert Plan(images=5, images_per_step=8, epochs=1).full_step_images == 5


def test_warm_up_is_an_epoch_at_most_100_steps_whatever_the_number_of_epochs() -> None:
    assert warmup_steps(ScheduleOptions(), Plan(60, 8, 8)) == 8
    assert warmup_steps(ScheduleOptions(), Plan(60, 8, 100)) == 8
    assert warmup_steps(ScheduleOptions(), Plan(10_000, 8, 1)) == 100
    assert warmup_steps(ScheduleOptions(warmup_steps=0), Plan(60, 8, 8)) == 0


def test_the_rate_rises_and_then_stays() -> None:
    plan = Plan(images=8, images_per_step=1, epochs=4)
    rates = [rate(plan, step, warmup_steps=3) for step in range(plan.steps)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert set(rates[3:]) == {1.0}


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_falling_rate_ends_near_zero(schedule: str) -> None:
    plan = Plan(images=8, images_per_step=1, epochs=4)
    rates = [rate(plan, step, warmup_steps=2, lr_schedule=schedule) for step in range(plan.steps)]
    assert rates[2] == 1.0
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 0.05


def test_the_average_warms_up() -> None:
    decays = [ema_decay(0.9, step) for step in range(200)]
    assert decays[0] == pytest.approx(2 / 11)
    assert decays == sorted(decays)
    assert decays[-1] == 0.9
