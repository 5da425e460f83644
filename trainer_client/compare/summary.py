"""The summary of a comparison in plain words.

Headline: of the runs whose held-out loss under their own captions is clearly below the base's, take the captions with
the highest reliance at the judged checkpoint, and those not clearly different; give the epochs up to their plateau.
Held-out loss alone is no criterion: captions without content give a low loss but no reliance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.edge.words import listed, plural, sentence
from trainer_client.compare import findings, remarks
from trainer_client.compare.ranking import Weighed, rank
from trainer_client.evaluate.bootstrap import LEAST


@dataclass(frozen=True)
class Verdict:
    """A group's headline and findings."""

    headline: str
    chosen: list[str]
    summary: list[str]


def verdict(weighed: Weighed) -> Verdict:
    learned = [label for label in weighed.own_loss if weighed.learned(label)]
    by_reliance = rank({k: v for k, v in weighed.reliance.items() if k in learned}, weighed.paired, highest_first=True)
    chosen = by_reliance.leaders or _least_leaking(weighed, learned)
    said = [
        *findings.follows(weighed, by_reliance),
        *findings.stops_paying(weighed),
        *findings.leaks(weighed),
        *findings.misleads(weighed, chosen),
        *findings.learned(weighed, learned),
        *findings.forgets(weighed),
        *remarks.by_heart(weighed),
        *remarks.cost(weighed),
        *remarks.caveats(weighed),
    ]
    return Verdict(_headline(weighed, learned, chosen), chosen, said)


def _headline(weighed: Weighed, learned: list[str], chosen: list[str]) -> str:
    if weighed.epoch is None:
        trained = any(point.epoch for run in weighed.compared.values() for point in run.epochs)
        return "No checkpoint that all runs share has been evaluated yet." if trained else "Nothing is trained yet."
    if not weighed.own_loss:
        return "No held-out images, so no measures to choose by: look at the samples."
    if min(map(len, weighed.own_loss.values())) < LEAST:
        return "Too few held-out images to choose by measures: look at the samples."
    if not learned:
        return f"By epoch {weighed.epoch} nothing was learned that the held-out images show."
    runs = [weighed.compared[label] for label in chosen]
    plateaus = [run.plateau_epoch for run in runs if run.plateau_epoch is not None]
    tied = ": too close to call between them" if len(chosen) > 1 else ""
    named = listed(chosen, "or")
    who = f"{sentence(named)} captions" if all(run.label == run.captions for run in runs) else f"The run {named}"
    return f"{who}, {_epochs(plateaus, any(run.still_improving for run in runs))}{tied}."


def _least_leaking(weighed: Weighed, learned: list[str]) -> list[str]:
    """Return the learned runs with the least leakage, for runs without reliance."""
    ranking = rank({k: v for k, v in weighed.leakage.items() if k in learned}, weighed.paired, highest_first=False)
    return ranking.leaders or learned


def _epochs(epochs: Sequence[int], open_ended: bool) -> str:
    """Return `about 15 epochs`, `15 to 30 epochs` or `8 epochs or more`."""
    if not epochs:
        return "no telling how long"
    low, high = min(epochs), max(epochs)
    span = plural(high, "epoch") if low == high else f"{low} to {plural(high, 'epoch')}"
    if open_ended:
        return f"{span} or more"
    return f"about {span}" if low == high else span
