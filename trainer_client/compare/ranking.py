"""Rank runs at one checkpoint, with those that are not clearly worse than the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from schemas.comparison import ComparedRun, EpochMeasures, Estimate
from schemas.run import Evaluation
from trainer_client.compare.runs import Run
from trainer_client.evaluate.bootstrap import above_zero, below_zero, change, difference, estimate


@dataclass(frozen=True)
class Ranking:
    """Labels from best to worst; `leaders` are the first and those not clearly different from it."""

    order: list[str]
    leaders: list[str]
    values: dict[str, Estimate]

    @property
    def clear(self) -> bool:
        return len(self.leaders) == 1


@dataclass(frozen=True)
class Weighed:
    """A group's runs at the judged checkpoint: by label a value per image (per sample for leakage)."""

    epoch: int | None
    paired: bool
    runs: dict[str, Run]
    compared: dict[str, ComparedRun]
    own_loss: dict[str, list[float]] = field(default_factory=dict)
    reliance: dict[str, list[float]] = field(default_factory=dict)
    leakage: dict[str, list[float]] = field(default_factory=dict)

    def measures(self, label: str, epoch: int | None = None) -> EpochMeasures | None:
        """Return a run's measures at `epoch`, by default the judged one."""
        wanted = self.epoch if epoch is None else epoch
        return next((point for point in self.compared[label].epochs if point.epoch == wanted), None)

    def own_change(self, label: str) -> Estimate | None:
        """Return a run's held-out change under its own track at the judged checkpoint."""
        point, own = self.measures(label), self.compared[label].own_track
        return point.held_out_change.get(own) if point and own else None

    def learned(self, label: str) -> bool:
        """Return whether held-out loss under its own captions is clearly below the base's."""
        return below_zero(self.own_change(label))


def weigh(runs: list[Run], compared: list[ComparedRun], paired: bool) -> Weighed:
    """Choose the judged checkpoint and collect the values to rank."""
    epoch = judged_epoch(runs, compared)
    labels = {item.label: run for item, run in zip(compared, runs, strict=True)}
    found = Weighed(epoch, paired, labels, {item.label: item for item in compared})
    if epoch is None:
        return found
    for label, run in labels.items():
        evaluation, own = run.evaluation(epoch), run.own_track
        if evaluation is None:
            continue
        _fill(found, label, own, evaluation)
    return found


def judged_epoch(runs: list[Run], compared: list[ComparedRun]) -> int | None:
    """Return the first common checkpoint at which every run has stopped improving, else the last common one."""
    evaluated = [{point.epoch for point in run.report.checkpoints if point.evaluation} for run in runs]
    common = sorted(epoch for epoch in set.intersection(*evaluated) if epoch > 0)
    if not common:
        return None
    plateaus = [item.plateau_epoch for item in compared if item.plateau_epoch is not None]
    wanted = max(plateaus, default=common[-1])
    return next((epoch for epoch in common if epoch >= wanted), common[-1])


def rank(values: Mapping[str, Sequence[float]], paired: bool, highest_first: bool) -> Ranking:
    """Order runs by mean; leaders are those not clearly different from the first (95%)."""
    known = {label: list(each) for label, each in values.items() if len(each)}
    order = sorted(known, key=lambda label: float(np.mean(known[label])), reverse=highest_first)
    clear = below_zero if highest_first else above_zero
    leaders = order[:1] + [label for label in order[1:] if not clear(compare_means(known, label, order[0], paired))]
    estimates = {label: value for label in order if (value := estimate(known[label])) is not None}
    return Ranking(order, leaders, estimates)


def compare_means(values: Mapping[str, Sequence[float]], label: str, other: str, paired: bool) -> Estimate | None:
    """Return the mean of `label` minus that of `other`, image by image if the runs are paired."""
    if paired and len(values[label]) == len(values[other]):
        return change(values[label], values[other])
    return difference(values[label], np.asarray(values[other]))


def _fill(found: Weighed, label: str, own: str | None, evaluation: Evaluation) -> None:
    if evaluation.leakage:
        found.leakage[label] = evaluation.leakage
    if own is None or not evaluation.held_out.get(own):
        return
    found.own_loss[label] = evaluation.held_out[own]
    if own in evaluation.held_out_shuffled:
        pairs = zip(evaluation.held_out_shuffled[own], evaluation.held_out[own], strict=True)
        found.reliance[label] = [shuffled - true for shuffled, true in pairs]
