"""Findings on captions and epochs, one sentence each; left out if the measures do not support it."""

from __future__ import annotations

from schemas.comparison import Estimate
from schemas.edge.words import interval, listed, loss, plural, sentence, signed
from schemas.run import Evaluation
from trainer_client.compare.ranking import Ranking, Weighed, compare_means, rank
from trainer_client.evaluate.bootstrap import LEAST, above_zero, below_zero, change

NAMED = 3  # forgotten tracks named one by one


def follows(weighed: Weighed, ranking: Ranking) -> list[str]:
    """Rank the runs that learned by reliance on their captions."""
    idle = [label for label in weighed.own_loss if label not in weighed.reliance]
    none = f" The captions of {listed(idle)} are all alike, so there are no words to follow." if idle else ""
    unlearned = [label for label in weighed.reliance if label not in ranking.order]
    none += f" Left out, since no learning shows: {listed(unlearned)}." if unlearned else ""
    if not ranking.order:
        return [none.strip()] if none else []
    first, value = ranking.order[0], ranking.values[ranking.order[0]]
    rises = [f"by {loss(value.mean)} {interval(value)} for {first}"]
    rises += [_rise(label, ranking.values[label]) for label in ranking.order[1:]]
    text = f"with the wrong captions held-out loss rises {listed(rises)}"
    if not above_zero(value):
        told = listed([f"{label} {signed(ranking.values[label].mean)}" for label in ranking.order])
        return [
            f"Whether any run follows its words can't be told: wrong captions change held-out loss by {told}.{none}"
        ]
    if len(ranking.order) == 1:
        text = text.removesuffix(f" for {first}")
        return [f"{sentence(first)} follows its words: {text}.{none}"]
    if ranking.clear:
        return [f"{sentence(first)} follows its words the most: {text}.{none}"]
    return [
        f"{sentence(listed(ranking.leaders))} can't be told apart in how far they follow their words: {text}.{none}"
    ]


def _rise(label: str, value: Estimate) -> str:
    return (
        f"by {loss(value.mean)} for {label}" if above_zero(value) else f"not clearly for {label} ({signed(value.mean)})"
    )


def stops_paying(weighed: Weighed) -> list[str]:
    """Report where more training no longer helps, or harms."""
    runs = [run for run in weighed.compared.values() if run.plateau_epoch is not None]
    parts = _by_epoch("after", {run.label: run.plateau_epoch for run in runs if not run.still_improving})
    sentences = [f"By held-out loss under its own captions, training stops paying {listed(parts)}."] if parts else []
    never = [run.label for run in runs if run.plateau_epoch == 0]
    if never:
        sentences.append(f"For {listed(never)} no checkpoint is clearly better than the base.")
    still = [run for run in runs if run.still_improving]
    if still:
        last = listed([str(epoch) for epoch in sorted({run.plateau_epoch or 0 for run in still})])
        verb = "were" if len(still) > 1 else "was"
        names = sentence(listed([run.label for run in still]))
        sentences.append(f"{names} {verb} still improving at epoch {last}, the last one.")
    worse = _by_epoch("from", {run.label: run.worse_from_epoch for run in runs})
    sentences += [f"Held-out loss is clearly higher again {listed(worse)}."] if worse else []
    return [" ".join(sentences)] if sentences else []


def _by_epoch(word: str, epochs: dict[str, int | None]) -> list[str]:
    """Return `from epoch 15 for template`, `from epoch 30 for empty and fixed`."""
    found: dict[int, list[str]] = {}
    for label, epoch in epochs.items():
        if epoch:
            found.setdefault(epoch, []).append(label)
    return [f"{word} epoch {epoch} for {listed(found[epoch])}" for epoch in sorted(found)]


def leaks(weighed: Weighed) -> list[str]:
    """Rank the runs by leakage into unrelated prompts."""
    ranking = rank(weighed.leakage, weighed.paired, highest_first=True)
    if not ranking.order:
        return []
    first, last = ranking.order[0], ranking.order[-1]
    fewest = min(value.count for value in ranking.values.values())
    if fewest < LEAST:
        told = listed([f"{label} {value.mean:.3f}" for label, value in ranking.values.items()])
        few = f"only {plural(fewest, 'sample')} of unrelated prompts, too few to say which leaks more"
        return [f"Distance from the base's samples at epoch {weighed.epoch}: {told}; {few}."]
    worth = f"{ranking.values[first].mean:.3f} {interval(ranking.values[first], 3)}"
    if len(ranking.order) == 1:
        return [
            f"At epoch {weighed.epoch} samples of unrelated prompts lie {worth} from the base's (0 same, 1 opposite)."
        ]
    least = f"{last} least ({ranking.values[last].mean:.3f})"
    if ranking.clear:
        return [
            f"{sentence(first)} leaks its style the most: at epoch {weighed.epoch} samples of unrelated prompts lie "
            f"{worth} from the base's, and {least}."
        ]
    together = sentence(listed(ranking.leaders))
    others = [f"{ranking.values[label].mean:.3f} for {label}" for label in ranking.leaders[1:]]
    lie = f"at epoch {weighed.epoch} samples of unrelated prompts lie {worth} from the base's for {first}"
    told = listed([lie, *others])
    if len(ranking.leaders) == len(ranking.order):
        return [f"{together} can't be told apart in how far they leak their style: {told}."]
    return [f"{together} leak their style the most and can't be told apart: {told}; {least}."]


def misleads(weighed: Weighed, chosen: list[str]) -> list[str]:
    """Report the choice by held-out loss alone, if reliance and leakage disagree with it."""
    ranking = rank(weighed.own_loss, weighed.paired, highest_first=False)
    if len(ranking.order) < 2 or not chosen or not weighed.reliance:
        return []
    first, second = ranking.order[:2]
    rival = second if first in chosen else chosen[0]
    if rival in ranking.leaders:
        return []
    figures = f"{loss(ranking.values[first].mean)} against {loss(ranking.values[rival].mean)} for {rival}"
    if first in chosen:
        return [f"Held-out loss puts {first} first too ({figures}); here it agrees with the reliance on words."]
    fault = "it follows its words less" if weighed.learned(first) else "no learning shows in it"
    faults = [fault if first in weighed.reliance else "its captions are all alike and choose nothing"]
    both = first in weighed.leakage and rival in weighed.leakage
    if both and above_zero(compare_means(weighed.leakage, first, rival, weighed.paired)):
        faults.append("it leaks more into unrelated prompts")
    return [f"Held-out loss alone misleads here: it would choose {first} ({figures}), but {listed(faults)}."]


def learned(weighed: Weighed, learned: list[str]) -> list[str]:
    """Compare held-out loss with the base's, each run under its own captions."""
    changes = {label: value for label in weighed.own_loss if (value := weighed.own_change(label)) is not None}
    if not changes:
        return []
    told = [f"{label} {signed(changes[label].mean)}" for label in learned]
    rest = [label for label in changes if label not in learned]
    subject, sentences = "held-out loss under the run's own captions", []
    if told:
        by = f"By epoch {weighed.epoch} held-out loss under the run's own captions is clearly below the base's"
        sentences.append(f"{by}: {listed(told)}.")
        subject = "it"
    worse = [label for label in rest if above_zero(changes[label])]
    same = [label for label in rest if label not in worse]
    if worse:
        sentences.append(f"For {listed(worse)} {subject} is clearly above the base's: training did harm there.")
    if same:
        sentences.append(f"For {listed(same)} {subject} can't be told from the base's at epoch {weighed.epoch}.")
    return [" ".join(sentences)]


def forgets(weighed: Weighed) -> list[str]:
    """Report runs that rely less than the base on words of a track they did not train on."""
    lost = []
    for label, run in weighed.runs.items():
        base, now = run.evaluation(0), run.evaluation(weighed.epoch or 0)
        for track in now.held_out_shuffled if now else ():
            before, after = _reliance(base, track), _reliance(now, track)
            if track != run.own_track and before and below_zero(change(after, before)):
                fall = f"from {loss(sum(before) / len(before))} to {loss(sum(after) / len(after))}"
                lost.append(f"{label} under {track} captions, {fall}")
    if not lost:
        return []
    more = f" (and {len(lost) - NAMED} more)" if len(lost) > NAMED else ""
    return [f"Words were unlearned: the loss that wrong captions cost fell for {listed(lost[:NAMED])}{more}."]


def _reliance(evaluation: Evaluation | None, track: str) -> list[float]:
    """Return the loss with a shuffled minus the true caption, per held-out image; empty if not measured."""
    if evaluation is None or track not in evaluation.held_out:
        return []
    pairs = zip(evaluation.held_out_shuffled.get(track, ()), evaluation.held_out[track], strict=False)
    return [shuffled - true for shuffled, true in pairs]
