"""Remarks: memorisation, cost, reasons to doubt the measures."""

from __future__ import annotations

from schemas.comparison import ComparedRun
from schemas.edge.words import HOUR, duration, listed, loss, money, plural, sentence
from trainer_client.compare.measures import total_seconds
from trainer_client.compare.ranking import Weighed
from trainer_client.evaluate.bootstrap import above_zero

FEW_IMAGES = 20
GAP_OF_NOTE = 0.2  # of the train-subset change
ALIKE = 1.15  # below this ratio one epoch time is given for all runs


def by_heart(weighed: Weighed) -> list[str]:
    """Report runs whose loss fell clearly and much more on training than on held-out images."""
    told: dict[int, list[str]] = {}
    for label in weighed.compared:
        point = next((each for each in reversed(weighed.compared[label].epochs) if each.gap is not None), None)
        if point is None or point.gap is None or point.train_subset_change is None or not above_zero(point.gap):
            continue
        if point.gap.mean > GAP_OF_NOTE * abs(point.train_subset_change.mean):
            told.setdefault(point.epoch, []).append(f"{loss(point.gap.mean)} for {label}")
    parts = [f"at epoch {epoch} by {listed(told[epoch])}" for epoch in sorted(told)]
    if not parts:
        return []
    return [f"Learned by heart: loss fell further on training images than on held-out ones, {'; '.join(parts)}."]


def cost(weighed: Weighed) -> list[str]:
    """Report time and money of an epoch, and in total."""
    trained = {label: run for label, run in weighed.compared.items() if run.epochs_trained}
    if not trained:
        return []
    each = {label: run.cost.training_seconds / run.epochs_trained for label, run in trained.items()}
    if len(each) > 1 and max(each.values()) <= ALIKE * min(each.values()):
        slowest = max(each, key=lambda label: each[label])
        epoch = f"An epoch of training took about {_priced(trained[slowest], each[slowest])} whatever the captions."
    else:
        epoch = f"An epoch of training took {listed(_alike(trained, each))}."
    costs = [run.cost for run in weighed.compared.values()]
    total = sum(map(total_seconds, costs))
    looking = sum(item.sampling_seconds + item.evaluating_seconds for item in costs)
    bills = [item.price_per_hour * total_seconds(item) / HOUR for item in costs if item.price_per_hour is not None]
    bill = f" at a cost of {money(sum(bills))}" if len(bills) == len(costs) else ""
    share = f", of which {100 * looking / total:.0f}% went into sampling and evaluating" if total else ""
    return [f"{epoch} Together {duration(total)}{bill}{share}."]


def _alike(trained: dict[str, ComparedRun], each: dict[str, float]) -> list[str]:
    """Return `0.4 s for empty and fixed`, `0.3 s for template`."""
    found: dict[str, list[str]] = {}
    for label, seconds in each.items():
        found.setdefault(_priced(trained[label], seconds), []).append(label)
    return [f"{said} for {listed(labels)}" for said, labels in found.items()]


def _priced(run: ComparedRun, seconds: float) -> str:
    price = run.cost.price_per_hour
    return duration(seconds) if price is None else f"{duration(seconds)} (cost {money(price * seconds / HOUR)})"


def caveats(weighed: Weighed) -> list[str]:
    """Report reasons for doubt: unpaired runs, few images, unfinished runs, truncated captions."""
    told = []
    if not weighed.paired:
        told.append(
            "These runs are not paired (see what differs below): differences between them may not be the captions'."
        )
    images = min((len(run.report.held_out_images) for run in weighed.runs.values()), default=0)
    if images == 0:
        told.append("No images were held out, so held-out loss and reliance on captions were not measured.")
    elif images < FEW_IMAGES:
        told.append(
            f"Only {plural(images, 'held-out image')}: take every figure as a hint; other images could reverse it."
        )
    for label, run in weighed.compared.items():
        if run.status != "complete":
            word = "has not finished" if run.status == "running" else "was interrupted"
            told.append(f"{sentence(label)} {word}: {plural(run.epochs_trained, 'epoch')} so far.")
    epochs = {tuple(point.epoch for point in run.epochs) for run in weighed.compared.values()}
    if len(epochs) > 1:
        told.append(
            "The runs were not saved at the same epochs; empty cells in the grids are checkpoints that don't exist."
        )
    if len(weighed.compared) == 1:
        told.append("One run only: train another strategy on the same snapshot to compare captions.")
    cut = [run for run in weighed.compared.values() if run.truncation.truncated]
    for run in cut:
        number = f"{run.truncation.truncated} of {run.truncation.captions}"
        told.append(f"{number} captions of {run.label} lose words past {run.truncation.token_limit} tokens.")
    return told
