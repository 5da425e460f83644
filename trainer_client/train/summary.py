"""The final summary of `trainer train`, as text and JSON. `run.json` has every detail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import BaseModel, Field

from schemas.comparison import Estimate
from schemas.edge.words import duration, interval, money, plural, signed
from schemas.run import Checkpoint, Cost, Evaluation, RunReport, Stopping
from trainer_client.evaluate.bootstrap import change, difference
from trainer_client.train.timing import PARTS


class CheckpointLine(BaseModel):
    """A checkpoint's mean losses and leakage; changes from the base have 95% intervals over images."""

    epoch: int
    folder: str
    train_loss: float | None
    held_out_loss: float | None
    leakage: float | None
    held_out_change: Estimate | None = None
    gap: Estimate | None = Field(default=None, description="Held-out change minus that of the training subset.")
    best: bool = False


class NoiseLevel(BaseModel):
    """Held-out loss at one timestep, of the base and of the best checkpoint."""

    timestep: int
    base: float
    best: float
    change: Estimate | None


class TrainResult(BaseModel):
    """A finished run."""

    run: str
    folder: Path
    report: Path
    captions: str
    was_complete: bool
    resumed: bool
    epochs: int
    steps: int
    images_per_second: float | None
    truncated_captions: int
    checkpoints: list[CheckpointLine]
    cost: Cost
    stopping: Stopping | None = None
    noise_levels: list[NoiseLevel] = Field(default_factory=list)
    tracker_failure: str | None = None


def summarise(
    report: RunReport,
    folder: Path,
    was_complete: bool = False,
    resumed: bool = False,
    tracker_failure: str | None = None,
) -> TrainResult:
    """Return the result of a run with this record."""
    seconds = sum(epoch.seconds for epoch in report.epochs)
    images = len(report.epochs) * report.snapshot.train_images
    return TrainResult(
        run=report.name,
        folder=folder,
        report=folder / "run.json",
        captions=report.captions,
        was_complete=was_complete,
        resumed=resumed,
        epochs=len(report.epochs),
        steps=report.epochs[-1].steps if report.epochs else 0,
        images_per_second=images / seconds if seconds else None,
        truncated_captions=report.truncation.truncated,
        checkpoints=[_line(report, checkpoint) for checkpoint in report.checkpoints],
        cost=report.cost,
        stopping=report.stopping,
        noise_levels=_noise_levels(report),
        tracker_failure=tracker_failure,
    )


def _line(report: RunReport, checkpoint: Checkpoint) -> CheckpointLine:
    evaluation = checkpoint.evaluation
    held_out = evaluation.held_out.get(report.captions, []) if evaluation else []
    return CheckpointLine(
        epoch=checkpoint.epoch,
        folder=checkpoint.folder,
        train_loss=next((epoch.train_loss for epoch in report.epochs if epoch.epoch == checkpoint.epoch), None),
        held_out_loss=_mean(held_out),
        leakage=_mean(evaluation.leakage) if evaluation else None,
        held_out_change=_held_out_change(report, checkpoint),
        gap=_gap(report, checkpoint),
        best=report.stopping is not None and report.stopping.best_epoch == checkpoint.epoch,
    )


def _base(report: RunReport) -> Evaluation | None:
    return next((point.evaluation for point in report.checkpoints if point.epoch == 0), None)


def _held_out_change(report: RunReport, checkpoint: Checkpoint) -> Estimate | None:
    base, now, own = _base(report), checkpoint.evaluation, report.captions
    if checkpoint.epoch == 0 or base is None or now is None or own not in base.held_out or own not in now.held_out:
        return None
    return change(now.held_out[own], base.held_out[own])


def _gap(report: RunReport, checkpoint: Checkpoint) -> Estimate | None:
    """Return the held-out change minus the training-subset change. The images differ, so it is unpaired."""
    base, now, own = _base(report), checkpoint.evaluation, report.captions
    if checkpoint.epoch == 0 or base is None or now is None or own not in now.held_out or own not in base.held_out:
        return None
    if own not in now.train_subset or own not in base.train_subset:
        return None
    held_out = np.asarray(now.held_out[own]) - np.asarray(base.held_out[own])
    return difference(held_out, np.asarray(now.train_subset[own]) - np.asarray(base.train_subset[own]))


def _noise_levels(report: RunReport) -> list[NoiseLevel]:
    """Return losses by timestep; empty if the base is best or losses have no timesteps."""
    best = report.stopping.best_epoch if report.stopping else 0
    now = next((point.evaluation for point in report.checkpoints if point.epoch == best), None)
    base = _base(report)
    if not best or base is None or now is None:
        return []
    levels = zip(now.timesteps, base.held_out_by_timestep, now.held_out_by_timestep, strict=False)
    return [
        NoiseLevel(timestep=step, base=_mean(before) or 0.0, best=_mean(after) or 0.0, change=change(after, before))
        for step, before, after in levels
    ]


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def text_of_run(result: TrainResult) -> str:
    """Return a line per checkpoint, then the costs."""
    if result.was_complete:
        return f"{result.folder} is complete already, with these settings: nothing to do."
    lines = [f"{'epoch':>5}  {'train loss':>10}  {'held-out loss':>13}  {'against the base (95%)':>28}  {'leakage':>7}"]
    for line in result.checkpoints:
        losses = f"{_cell(line.train_loss, 10)}  {_cell(line.held_out_loss, 13)}  {_interval(line.held_out_change):>28}"
        mark = "  best" if line.best else ""
        lines.append(f"{line.epoch:>5}  {losses}  {_cell(line.leakage, 7)}{mark}".rstrip())
    return "\n".join([*lines, "", *_judged(result), *_closing(result)])


def _judged(result: TrainResult) -> list[str]:
    """Return lines on the plateau, the gap and the losses by timestep."""
    if result.stopping is None:
        return []
    lines = [result.stopping.finding]
    best = next((line for line in result.checkpoints if line.best), None)
    if best is not None and best.gap is not None:
        lines.append(f"Gap to the training images at epoch {best.epoch}: {_interval(best.gap)}.")
    if result.noise_levels:
        told = ", ".join(f"{level.timestep}: {_interval(level.change)}" for level in result.noise_levels)
        lines.append(f"By timestep at epoch {result.stopping.best_epoch}: {told}.")
    return lines


def _closing(result: TrainResult) -> list[str]:
    parts = {part: getattr(result.cost, f"{part}_seconds") for part in PARTS}
    total = sum(parts.values())
    bill = f", cost {money(result.cost.price_per_hour * total / 3600)}" if result.cost.price_per_hour else ""
    rate = f", {result.images_per_second:.3g} images/s" if result.images_per_second else ""
    spent = ", ".join(f"{part} {duration(seconds)}" for part, seconds in parts.items())
    done = f"{plural(result.epochs, 'epoch')} on `{result.captions}`, {plural(result.steps, 'step')}"
    lines = [f"{result.run}: {done}{rate}."]
    lines.append(f"{duration(total)}{bill} ({spent}).")
    if result.truncated_captions:
        lines.append(f"{plural(result.truncated_captions, 'caption')} lost words past the tokenizer's limit.")
    if result.tracker_failure:
        lines.append(f"The tracker lacks figures ({result.tracker_failure}); the report has them all.")
    return [*lines, f"Checkpoints: {result.folder / 'checkpoints'}", f"Report: {result.report}"]


def _interval(value: Estimate | None) -> str:
    return "-" if value is None else f"{signed(value.mean)} {interval(value)}"


def _cell(value: float | None, width: int) -> str:
    return f"{'-' if value is None else f'{value:.4f}':>{width}}"
