"""What `trainer train` says at the end, for a person and as JSON. The whole story is in the run's `run.json`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from schemas.edge import duration
from schemas.run import Cost
from trainer_client.clock import PARTS

if TYPE_CHECKING:
    from schemas.run import Checkpoint, RunReport


class CheckpointLine(BaseModel):
    """One checkpoint in short: mean losses, mean leakage."""

    epoch: int
    folder: str
    train_loss: float | None
    held_out_loss: float | None
    leakage: float | None


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


def outcome(report: RunReport, folder: Path, was_complete: bool = False, resumed: bool = False) -> TrainResult:
    """The result of a run with this report."""
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
    )


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def render(result: TrainResult) -> str:
    """For a person: a line a checkpoint, then where the time went."""
    if result.was_complete:
        return f"{result.folder} is complete already, with these settings: nothing to do."
    lines = [f"{'epoch':>5}  {'train loss':>10}  {'held-out loss':>13}  {'leakage':>7}  checkpoint"]
    for line in result.checkpoints:
        losses = f"{_cell(line.train_loss, 10)}  {_cell(line.held_out_loss, 13)}  {_cell(line.leakage, 7)}"
        lines.append(f"{line.epoch:>5}  {losses}  {result.folder / line.folder}")
    return "\n".join([*lines, "", *_closing(result)])


def _closing(result: TrainResult) -> list[str]:
    parts = {part: getattr(result.cost, f"{part}_seconds") for part in PARTS}
    total = sum(parts.values())
    money = f", cost {result.cost.price_per_hour * total / 3600:.2f}" if result.cost.price_per_hour else ""
    rate = f", {result.images_per_second:.3g} images/s" if result.images_per_second else ""
    spent = ", ".join(f"{part} {duration(seconds)}" for part, seconds in parts.items())
    lines = [f"{result.run}: {result.epochs} epochs on `{result.captions}`, {result.steps} steps{rate}."]
    lines.append(f"{duration(total)}{money} ({spent}).")
    if result.truncated_captions:
        lines.append(f"{result.truncated_captions} captions lost words past the tokenizer's limit.")
    return [*lines, f"Report: {result.report}"]


def _cell(value: float | None, width: int) -> str:
    return f"{'-' if value is None else f'{value:.4f}':>{width}}"
