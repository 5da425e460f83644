"""What changes over a run as pure functions of the step: the learning rate and the moving average's decay.

Pure, so that a resumed run needs no schedule state.
"""

from __future__ import annotations

import math

from trainer_client.config import MAX_WARMUP_STEPS, TrainConfig
from trainer_client.data.plan import Plan


def warmup_steps(config: TrainConfig, plan: Plan) -> int:
    """The steps asked for, or one epoch and at most 100: never a share of the run, so that epoch k is the same
    whether the run goes on to epoch 45 or 100."""
    return min(plan.steps_per_epoch, MAX_WARMUP_STEPS) if config.warmup_steps is None else config.warmup_steps


def learning_rate(config: TrainConfig, plan: Plan, step: int) -> float:
    """The rate of optimiser step `step` (from 0)."""
    warmup = warmup_steps(config, plan)
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    if config.lr_schedule == "constant":
        return config.learning_rate
    left = 1 - (step - warmup) / max(1, plan.steps - warmup)
    return config.learning_rate * (left if config.lr_schedule == "linear" else (1 - math.cos(math.pi * left)) / 2)


def ema_decay(config: TrainConfig, step: int) -> float:
    """The moving average's decay after step `step` (from 0): (1 + n) / (10 + n) until it reaches the one asked for.

    Without the warm-up a short run's average would still be mostly the base model.
    """
    return min(config.ema_decay, (2 + step) / (11 + step))
