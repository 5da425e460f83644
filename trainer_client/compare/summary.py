"""The summary in plain words. Every sentence is made of the figures; one that they don't carry is not written.

The headline's rule: among the runs that learned anything (held-out loss under their own captions clearly below the
base's), the captions whose words the model follows most (reliance at the judged checkpoint), with those that can't be
told from them; and as many epochs as they needed until no later checkpoint was clearly better. Held-out loss isn't the
rule: captions that say nothing make the loss low and the words idle.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainer_client.compare.bootstrap import LEAST, above_zero, below_zero
from trainer_client.compare.weigh import Ranking, Weighed, compare_means, rank
from trainer_client.compare.words import duration, epochs_range, interval, listed, loss, money, plural, sentence, signed

FEW_IMAGES = 20
GAP_OF_NOTE = 0.2  # of the train-subset change


@dataclass(frozen=True)
class Verdict:
    """What a group's page says first."""

    headline: str
    chosen: list[str]
    summary: list[str]


def verdict(weighed: Weighed) -> Verdict:
    """The headline, the runs it names, and the findings."""
    learned = [label for label in weighed.own_loss if weighed.learned(label)]
    by_reliance = rank({k: v for k, v in weighed.reliance.items() if k in learned}, weighed.paired, highest_first=True)
    chosen = by_reliance.leaders or _least_leaking(weighed, learned)
    findings = [
        *_follows(weighed, by_reliance),
        *_stops_paying(weighed),
        *_leaks(weighed),
        *_misleads(weighed, chosen),
        *_learned(weighed, learned),
        *_forgets(weighed),
        *_by_heart(weighed),
        *_cost(weighed),
        *_caveats(weighed),
    ]
    return Verdict(_headline(weighed, learned, chosen), chosen, findings)


def _headline(weighed: Weighed, learned: list[str], chosen: list[str]) -> str:
    if weighed.epoch is None:
        trained = any(point.epoch for run in weighed.compared.values() for point in run.epochs)
        return "No checkpoint that all runs share has been evaluated yet." if trained else "Nothing is trained yet."
    if not weighed.own_loss:
        return "No held-out images, so no figures to choose by: look at the pictures."
    if min(map(len, weighed.own_loss.values())) < LEAST:
        return "Too few held-out images for the figures to choose: look at the pictures."
    if not learned:
        return f"By epoch {weighed.epoch} nothing was learned that the held-out images show."
    runs = [weighed.compared[label] for label in chosen]
    plateaus = [run.plateau_epoch for run in runs if run.plateau_epoch is not None]
    more = " or more" if any(run.still_improving for run in runs) else ""
    tied = ": too close to call between them" if len(chosen) > 1 else ""
    named = listed(chosen, "or")
    who = f"{sentence(named)} captions" if all(run.label == run.captions for run in runs) else f"The run {named}"
    return f"{who}, {epochs_range(plateaus)}{more}{tied}."


def _least_leaking(weighed: Weighed, learned: list[str]) -> list[str]:
    """Where no run has words to follow, the runs that learned and left unrelated prompts most alone."""
    ranking = rank({k: v for k, v in weighed.leakage.items() if k in learned}, weighed.paired, highest_first=False)
    return ranking.leaders or learned


def _learned(weighed: Weighed, learned: list[str]) -> list[str]:
    changes = {label: value for label in weighed.own_loss if (value := weighed.own_change(label)) is not None}
    if not changes:
        return []
    told = [f"{label} {signed(changes[label].mean)}" for label in learned]
    rest = [label for label in changes if label not in learned]
    sentences = []
    if told:
        by = f"By epoch {weighed.epoch} held-out loss under the run's own captions is clearly below the base's"
        sentences.append(f"{by}: {listed(told)}.")
    worse = [label for label in rest if above_zero(changes[label])]
    same = [label for label in rest if label not in worse]
    if worse:
        sentences.append(f"For {listed(worse)} it is clearly above the base's: training did harm by that measure.")
    if same:
        sentences.append(f"For {listed(same)} it can't be told from the base's at epoch {weighed.epoch}.")
    return [" ".join(sentences)]


def _follows(weighed: Weighed, ranking: Ranking) -> list[str]:
    idle = [label for label in weighed.own_loss if label not in weighed.reliance]
    none = f" The captions of {listed(idle)} are all alike, so there are no words to follow." if idle else ""
    if not ranking.order:
        return [none.strip()] if none else []
    first, value = ranking.order[0], ranking.values[ranking.order[0]]
    rises = [f"by {loss(value.mean)} {interval(value)} for {first}"]
    rises += [f"by {loss(ranking.values[label].mean)} for {label}" for label in ranking.order[1:]]
    text = f"with the wrong captions held-out loss rises {listed(rises)}"
    if not above_zero(value):
        return [f"{sentence(text)}: whether any run follows its words can't be told.{none}"]
    if len(ranking.order) == 1:
        return [f"{sentence(first)} follows its words: {text}.{none}"]
    if ranking.clear:
        return [f"{sentence(first)} follows its words the most: {text}.{none}"]
    return [f"{sentence(listed(ranking.leaders))} can't be told apart in how far they follow their words: {text}.{none}"]


def _forgets(weighed: Weighed) -> list[str]:
    """Runs that lost the hold of words which the base had, under a track they didn't train on."""
    lost = []
    for label, run in weighed.runs.items():
        base, now = run.evaluation(0), run.evaluation(weighed.epoch) if weighed.epoch is not None else None
        if base is None or now is None:
            continue
        for track in now.held_out_shuffled:
            if track not in base.held_out_shuffled or track == run.own_track:
                continue
            before = [s - t for s, t in zip(base.held_out_shuffled[track], base.held_out[track], strict=True)]
            after = [s - t for s, t in zip(now.held_out_shuffled[track], now.held_out[track], strict=True)]
            pair = {"after": after, "before": before}
            if below_zero(compare_means(pair, "after", "before", paired=True)):
                lost.append((label, track, sum(before) / len(before), sum(after) / len(after)))
    told = [f"{label} under {track} captions, from {loss(a)} to {loss(b)}" for label, track, a, b in lost[:3]]
    return [f"Some words were unlearned. The price of wrong captions fell for {listed(told)}."] if told else []


def _leaks(weighed: Weighed) -> list[str]:
    ranking = rank(weighed.leakage, weighed.paired, highest_first=True)
    if not ranking.order:
        return []
    first, last = ranking.order[0], ranking.order[-1]
    fewest = min(value.count for value in ranking.values.values())
    if fewest < LEAST:
        told = listed([f"{label} {value.mean:.3f}" for label, value in ranking.values.items()])
        few = f"only {plural(fewest, 'picture')} of unrelated prompts, too few to say which leaks more"
        return [f"Distance from the base's pictures at epoch {weighed.epoch}: {told}; {few}."]
    worth = f"{ranking.values[first].mean:.3f} {interval(ranking.values[first], 3)}"
    if len(ranking.order) == 1:
        return [f"At epoch {weighed.epoch} pictures of unrelated prompts lie {worth} from the base's (0 same, 1 opposite)."]
    least = f"{last} least ({ranking.values[last].mean:.3f})"
    if ranking.clear:
        return [
            f"{sentence(first)} leaks its style the most: at epoch {weighed.epoch} pictures of unrelated prompts lie "
            f"{worth} from the base's, and {least}."
        ]
    together = sentence(listed(ranking.leaders))
    if len(ranking.leaders) == len(ranking.order):
        return [f"{together} can't be told apart in how far they move unrelated prompts ({worth} for {first})."]
    return [f"{together} leak their style the most and can't be told apart ({worth} for {first}); {least}."]


def _stops_paying(weighed: Weighed) -> list[str]:
    runs = [run for run in weighed.compared.values() if run.plateau_epoch is not None]
    by_epoch: dict[int, list[str]] = {}
    for run in runs:
        if run.plateau_epoch and not run.still_improving:
            by_epoch.setdefault(run.plateau_epoch, []).append(run.label)
    parts = [f"after epoch {epoch} for {listed(by_epoch[epoch])}" for epoch in sorted(by_epoch)]
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
    for run in runs:
        if run.worse_from_epoch is not None:
            sentences.append(f"From epoch {run.worse_from_epoch} {run.label} gets clearly worse again.")
    return [" ".join(sentences)] if sentences else []


def _misleads(weighed: Weighed, chosen: list[str]) -> list[str]:
    """What held-out loss alone would have chosen, where it isn't what reliance or leakage say."""
    ranking = rank(weighed.own_loss, weighed.paired, highest_first=False)
    if len(ranking.order) < 2 or not chosen or not weighed.reliance:
        return []
    first = ranking.order[0]
    rival = next(label for label in [*chosen, ranking.order[-1]] if label != first or label == ranking.order[-1])
    figures = f"{loss(ranking.values[first].mean)} against {loss(ranking.values[rival].mean)} for {rival}"
    if first in chosen:
        return [f"Held-out loss puts {first} first too ({figures}); here it agrees with the reliance on words."]
    start = f"Held-out loss alone misleads here: it would choose {first} ({figures})"
    faults = []
    if first not in weighed.reliance:
        faults.append("its captions are all alike, so its words choose nothing")
    elif first in weighed.reliance:
        faults.append("it follows its words less")
    if first in weighed.leakage and rival in weighed.leakage and above_zero(
        compare_means(weighed.leakage, first, rival, weighed.paired)
    ):
        faults.append("it leaks more into unrelated prompts")
    return [f"{start}, but {listed(faults)}."]


def _by_heart(weighed: Weighed) -> list[str]:
    told = []
    for label in weighed.compared:
        point = next((each for each in reversed(weighed.compared[label].epochs) if each.gap is not None), None)
        if point is None or point.gap is None or point.train_subset_change is None or not above_zero(point.gap):
            continue
        if point.gap.mean > GAP_OF_NOTE * abs(point.train_subset_change.mean):
            told.append(f"{label} ({loss(point.gap.mean)} at epoch {point.epoch})")
    if not told:
        return []
    return [f"Learned by heart: loss fell further on training images than on held-out ones for {listed(told)}."]


def _cost(weighed: Weighed) -> list[str]:
    told = []
    for label, run in weighed.compared.items():
        if not run.epochs_trained:
            continue
        each = run.cost.training_seconds / run.epochs_trained
        price = run.cost.price_per_hour
        told.append((each, f"{label} {duration(each)}{'' if price is None else f' ({money(each * price / 3600)})'}"))
    if not told:
        return []
    costs = [run.cost for run in weighed.compared.values()]
    looking = sum(cost.sampling_seconds + cost.evaluating_seconds for cost in costs)
    total = looking + sum(cost.training_seconds + cost.preparing_seconds for cost in costs)
    share = f"{100 * looking / total:.0f}%" if total else "none"
    priced = [cost.price_per_hour for cost in costs if cost.price_per_hour is not None]
    spent = sum((cost.price_per_hour or 0) * _seconds(cost) / 3600 for cost in costs)
    bill = f" and {money(spent)}" if len(priced) == len(costs) else ""
    epoch = f"An epoch of training took {listed([text for _, text in told])}."
    if len(told) > 1 and max(told)[0] <= 1.15 * min(told)[0]:
        epoch = f"An epoch of training took about {told[0][1].removeprefix(next(iter(weighed.compared)) + ' ')} whatever the captions."
    return [f"{epoch} Together {duration(total)}{bill}, of which {share} went into sampling and evaluating."]


def _seconds(cost: object) -> float:
    names = ("training_seconds", "sampling_seconds", "evaluating_seconds", "preparing_seconds")
    return float(sum(getattr(cost, name) for name in names))


def _caveats(weighed: Weighed) -> list[str]:
    told = []
    if not weighed.paired:
        told.append("These runs are not paired (see what differs below): differences between them may not be the captions'.")
    images = min((len(run.report.held_out_images) for run in weighed.runs.values()), default=0)
    if images == 0:
        told.append("No images were held out, so loss on unseen pictures and reliance on words were not measured.")
    elif images < FEW_IMAGES:
        told.append(f"Only {plural(images, 'held-out image')}: take every figure as a hint; another draw could turn it.")
    for label, run in weighed.compared.items():
        if run.status != "complete":
            word = "is still running" if run.status == "running" else "was interrupted"
            told.append(f"{sentence(label)} {word}: {plural(run.epochs_trained, 'epoch')} so far.")
    epochs = {tuple(point.epoch for point in run.epochs) for run in weighed.compared.values()}
    if len(epochs) > 1:
        told.append("The runs were not saved at the same epochs; empty places in the grids are checkpoints that don't exist.")
    if len(weighed.compared) == 1:
        told.append("One run only: train another strategy on the same snapshot to compare captions.")
    cut = [run for run in weighed.compared.values() if run.truncation.truncated]
    for run in cut:
        number = f"{run.truncation.truncated} of {run.truncation.captions}"
        told.append(f"{number} captions of {run.label} lose words past {run.truncation.token_limit} tokens.")
    return told
