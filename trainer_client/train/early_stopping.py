"""Decide when training stopped paying, by held-out loss under the run's own captions.

All checkpoints are measured on the same images, timesteps and noise. A difference counts if its bootstrap interval over
images excludes zero. The plateau is the first checkpoint that no later one clearly improves on. Intervals are widened
by the number of later checkpoints (Bonferroni). The loss is worse from a checkpoint on only if every checkpoint from
there to the last is worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

from schemas.run import RunReport, Stopping
from trainer_client.evaluate.bootstrap import LEAST, above_zero, below_zero, change


class Plateau(NamedTuple):
    """Epochs by held-out loss."""

    epoch: int
    still_improving: bool
    worse_from: int | None


def plateau(losses: Mapping[int, Sequence[float]]) -> Plateau | None:
    """Find the plateau among checkpoints (epoch -> loss of each image); None with fewer than two."""
    epochs = sorted(losses)
    if len(epochs) < 2:
        return None
    for position, epoch in enumerate(epochs):
        later = epochs[position + 1 :]
        changes = [change(losses[other], losses[epoch], len(later)) for other in later]
        if not any(below_zero(value) for value in changes):
            worse = list(takewhile(lambda pair: above_zero(pair[1]), reversed(list(zip(later, changes, strict=True)))))
            return Plateau(epoch, not later, worse[-1][0] if worse else None)
    raise AssertionError("the last checkpoint has no later one")


def own_losses(report: RunReport) -> dict[int, list[float]]:
    """Return epoch -> held-out losses under the run's own track; empty if it was not measured."""
    found = ((point.epoch, point.evaluation) for point in report.checkpoints)
    return {
        epoch: evaluation.held_out[report.captions]
        for epoch, evaluation in found
        if evaluation is not None and evaluation.held_out.get(report.captions)
    }


def out_of_patience(report: RunReport, patience: int | None) -> bool:
    """Return whether the last `patience` checkpoints gave no clear gain over an earlier one."""
    losses = own_losses(report)
    found = plateau(losses) if patience else None
    return found is not None and patience is not None and sum(epoch > found.epoch for epoch in losses) >= patience


def judge(report: RunReport, stopped_early: bool = False) -> Stopping | None:
    """Return the verdict for the record; None if nothing was measured."""
    losses = own_losses(report)
    found = plateau(losses)
    if found is None:
        return None
    best = min(losses, key=lambda epoch: (sum(losses[epoch]), epoch))
    return Stopping(
        best_epoch=best,
        plateau_epoch=found.epoch,
        still_improving=found.still_improving,
        worse_from_epoch=found.worse_from,
        stopped_early=stopped_early,
        finding=_in_words(found, losses, stopped_early),
    )


def _in_words(found: Plateau, losses: Mapping[int, Sequence[float]], stopped_early: bool) -> str:
    last = max(losses)
    if len(losses[last]) < LEAST:
        return f"Too few held-out images ({len(losses[last])}) to say when training stopped paying."
    if found.still_improving:
        return f"Still improving at epoch {last}, the last one: held-out loss is clearly lower than at any before."
    gain = "No significant gain over the base" if found.epoch == 0 else f"No significant gain after epoch {found.epoch}"
    worse = f"; clearly worse from epoch {found.worse_from}" if found.worse_from is not None else ""
    stopped = f" Stopped at epoch {last}: --patience ran out." if stopped_early else ""
    return f"{gain} (held-out loss, 95% interval over {len(losses[last])} images){worse}.{stopped}"
