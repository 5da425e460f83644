"""What changes over a run as pure functions of the step: the learning rate and the moving average's decay.

Pure, so that a resumed run needs no schedule state.
"""

from __future__ import annotations

import math

from trainer_client.config.parts import MAX_WARMUP_STEPS, ScheduleOptions
from trainer_client.data.plan import Plan


def warmup_steps(options: ScheduleOptions, plan: Plan) -> int:
    """The steps asked for, or one epoch and at most 100: never a share of the run, so that epoch k is the same
    whether the run goes on to epoch 45 or 100."""
    return min(plan.steps_per_epoch, MAX_WARMUP_STEPS) if options.warmup_steps is None else options.warmup_steps


def learning_rate(peak: float, options: ScheduleOptions, plan: Plan, step: int) -> float:
    """Return the rate of optimiser step `step` (from 0); `peak` is that after the warm-up."""
    warmup = warmup_steps(options, plan)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    if options.lr_schedule == "constant":
        return peak
    left = 1 - (step - warmup) / max(1, plan.steps - warmup)
    return peak * (left if options.lr_schedule == "linear" else (1 - math.cos(math.pi * left)) / 2)


def ema_decay(most: float, step: int) -> float:
    """The moving average's decay after step `step` (from 0): (1 + n) / (10 + n) until it reaches the one asked for.

    Without the warm-up a short run's average would still be mostly the base model.
    """
    return min(most, (2 + step) / (11 + step))
