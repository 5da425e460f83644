"""When training stopped paying: judged by held-out loss under the run's own captions, image by image.

Every checkpoint was measured on the same images at the same timesteps and noise, so that two checkpoints differ by
what training did and by nothing else; a difference counts where its bootstrap interval over images leaves zero out.
The plateau is the first checkpoint that no later one clearly betters: what follows it costs and doesn't pay. The more
checkpoints follow, the sooner one of them is better by chance: their intervals are widened to hold together. It is
worse from a checkpoint on only where every one from there to the last is: one that a later one makes up for is a bump.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

from schemas.run import RunReport, Stopping
from trainer_client.evaluate.bootstrap import LEAST, above_zero, below_zero, change


class Plateau(NamedTuple):
    """Epochs by what held-out loss says of them."""

    epoch: int
    still_improving: bool
    worse_from: int | None


def plateau(losses: Mapping[int, Sequence[float]]) -> Plateau | None:
    """Where it lies among checkpoints (epoch -> loss of each image); None with fewer than two checkpoints."""
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
    """Epoch -> held-out losses under the run's own track; empty where it has none, or nothing is held out."""
    found = ((point.epoch, point.evaluation) for point in report.checkpoints)
    return {
        epoch: evaluation.held_out[report.captions]
        for epoch, evaluation in found
        if evaluation is not None and evaluation.held_out.get(report.captions)
    }


def out_of_patience(report: RunReport, patience: int | None) -> bool:
    """Whether the last `patience` checkpoints brought no clear gain over an earlier one."""
    losses = own_losses(report)
    found = plateau(losses) if patience else None
    return found is not None and patience is not None and sum(epoch > found.epoch for epoch in losses) >= patience


def judge(report: RunReport, stopped_early: bool = False) -> Stopping | None:
    """The report's own verdict; None where there is nothing to judge by."""
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
    stopped = f" Stopped at epoch {last}: patience is at its end." if stopped_early else ""
    return f"{gain} (held-out loss, 95% interval over {len(losses[last])} images){worse}.{stopped}"
