"""Learning rate and moving-average decay as pure functions of the step: a resumed run needs no schedule state."""

from __future__ import annotations

import math

from trainer_client.config.parts import MAX_WARMUP_STEPS, ScheduleOptions
from trainer_client.data.plan import Plan


def warmup_steps(options: ScheduleOptions, plan: Plan) -> int:
    """Return the warm-up given, or one epoch, at most 100 steps. Not a share of the run: epoch k is the same in runs of
    any length.
    """
    return min(plan.steps_per_epoch, MAX_WARMUP_STEPS) if options.warmup_steps is None else options.warmup_steps


def learning_rate(peak: float, options: ScheduleOptions, plan: Plan, step: int) -> float:
    """Return the rate of optimiser step `step` (from 0); `peak` is the rate after the warm-up."""
    warmup = warmup_steps(options, plan)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    if options.lr_schedule == "constant":
        return peak
    left = 1 - (step - warmup) / max(1, plan.steps - warmup)
    return peak * (left if options.lr_schedule == "linear" else (1 - math.cos(math.pi * left)) / 2)


def ema_decay(most: float, step: int) -> float:
    """Return the decay after step `step` (from 0): (1 + n) / (10 + n), at most the decay given.

    Without this warm-up a short run's average would be mostly the base model.
    """
    return min(most, (2 + step) / (11 + step))
