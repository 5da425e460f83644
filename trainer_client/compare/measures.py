"""Measures of each checkpoint, from the per-image losses in the run record.

- held-out change: loss on held-out images minus the base's, under every track
- reliance: loss with shuffled captions minus with true ones; zero if the words don't matter
- train-subset change: the same change on fixed training images; its gap to the held-out change is memorisation
- leakage: distance of samples of unrelated prompts from the base's, same seed and noise
- plateau: the first checkpoint that no later one clearly improves on, held out, own track
"""

from __future__ import annotations

import numpy as np

from schemas.comparison import ComparedRun, EpochMeasures, Estimate
from schemas.edge.words import HOUR
from schemas.run import Checkpoint, Cost, Evaluation
from trainer_client.compare.runs import Run
from trainer_client.evaluate.bootstrap import change, difference, estimate
from trainer_client.train.early_stopping import own_losses, plateau


def measured(run: Run, label: str, differs: dict[str, object]) -> ComparedRun:
    """Return every measure of a run, by checkpoint."""
    report = run.report
    plateau, improving, worse = paying(run)
    return ComparedRun(
        name=run.name,
        label=label,
        captions=report.captions,
        own_track=run.own_track,
        status=report.status,
        started_at=report.started_at,
        epochs_trained=max((record.epoch for record in report.epochs), default=0),
        steps=max((record.steps for record in report.epochs), default=0),
        plateau_epoch=plateau,
        still_improving=improving,
        worse_from_epoch=worse,
        epochs=[_at(run, point) for point in report.checkpoints],
        cost=report.cost,
        truncation=report.truncation,
        snapshot_identity=report.snapshot.identity,
        config_digest=report.config_digest,
        differs=differs,
    )


def total_seconds(cost: Cost) -> float:
    return cost.preparing_seconds + cost.training_seconds + cost.sampling_seconds + cost.evaluating_seconds


def held_out_changes(run: Run, epoch: int) -> dict[str, Estimate]:
    """Return by track the held-out loss at `epoch` minus at epoch 0; empty if either was not evaluated."""
    base, now = run.evaluation(0), run.evaluation(epoch)
    if base is None or now is None:
        return {}
    pairs = {track: (losses, base.held_out[track]) for track, losses in now.held_out.items() if track in base.held_out}
    return _known({track: change(after, before) for track, (after, before) in pairs.items()})


def reliances(evaluation: Evaluation | None) -> dict[str, Estimate]:
    """Return by track the held-out loss with shuffled minus with true captions."""
    if evaluation is None:
        return {}
    shuffled = evaluation.held_out_shuffled
    tracks = [track for track in shuffled if track in evaluation.held_out]
    return _known({track: change(shuffled[track], evaluation.held_out[track]) for track in tracks})


def paying(run: Run) -> tuple[int | None, bool, int | None]:
    """Return (plateau epoch, whether it is the last checkpoint, first later checkpoint clearly worse); (None, False,
    None) without own track, held-out images or two evaluated checkpoints.
    """
    found = plateau(own_losses(run.report)) if run.own_track is not None else None
    return found or (None, False, None)


def _at(run: Run, point: Checkpoint) -> EpochMeasures:
    report, evaluation = run.report, point.evaluation
    trained = {record.epoch: record for record in report.epochs}
    record = trained.get(point.epoch)
    seconds = sum(each.seconds for each in report.epochs if each.epoch <= point.epoch)
    seconds += sum(
        each.sampling_seconds + each.evaluating_seconds for each in report.checkpoints if each.epoch <= point.epoch
    )
    price = report.cost.price_per_hour
    return EpochMeasures(
        epoch=point.epoch,
        steps=record.steps if record else 0,
        held_out_change=held_out_changes(run, point.epoch),
        reliance=reliances(evaluation),
        train_subset_change=_train_change(run, point.epoch),
        gap=_gap(run, point.epoch),
        leakage=estimate(evaluation.leakage) if evaluation else None,
        train_loss=record.train_loss if record else None,
        seconds=seconds,
        cost=None if price is None else price * seconds / HOUR,
    )


def _train_pair(run: Run, epoch: int) -> tuple[list[float], list[float]] | None:
    """Return train-subset losses (at `epoch`, at the base), of the own track or the only one."""
    base, now = run.evaluation(0), run.evaluation(epoch)
    if base is None or now is None:
        return None
    track = run.own_track if run.own_track in now.train_subset else next(iter(now.train_subset), None)
    if track is None or track not in base.train_subset:
        return None
    return now.train_subset[track], base.train_subset[track]


def _train_change(run: Run, epoch: int) -> Estimate | None:
    pair = _train_pair(run, epoch)
    return change(*pair) if pair else None


def _gap(run: Run, epoch: int) -> Estimate | None:
    pair, own = _train_pair(run, epoch), run.own_track
    base, now = run.evaluation(0), run.evaluation(epoch)
    if pair is None or base is None or now is None or own not in now.held_out or own not in base.held_out:
        return None
    held_out = np.asarray(now.held_out[own]) - np.asarray(base.held_out[own])
    return difference(held_out, np.asarray(pair[0]) - np.asarray(pair[1]))


def _known(values: dict[str, Estimate | None]) -> dict[str, Estimate]:
    return {key: value for key, value in values.items() if value is not None}
