"""Compare runs with the same prompts, seeds, noise and held-out images but other captions. Loads no model.

Reads run folders; returns a `schemas.comparison.Comparison` and writes one self-contained page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from schemas.comparison import Comparison, Estimate, Group
from schemas.document import now, write_atomically
from schemas.errors import BadOption
from schemas.progress import Progress, silent
from schemas.run import Prompt
from trainer_client.compare.measures import measured
from trainer_client.compare.page import page
from trainer_client.compare.pairing import differences, refuse_unpaired, settings
from trainer_client.compare.ranking import weigh
from trainer_client.compare.runs import Run, runs_below
from trainer_client.compare.summary import verdict
from trainer_client.compare.tracks import all_tracks, label_versions, shared_examples
from trainer_client.evaluate.bootstrap import estimate

DEVICE_KEYS = ("device_name", "device", "gpu", "cpu")


def compare(
    folders: Sequence[Path],
    out: Path,
    beside: Sequence[Path] = (),
    unpaired: bool = False,
    progress: Progress = silent,
) -> Comparison:
    """Compare run folders, then write the page to `out`.

    `folders` form one group; each folder in `beside` holds runs that form their own groups. Raises NotPaired if runs of
    a group differ in more than their captions, unless `unpaired`.
    """
    _refuse_out(out)
    groups = _open(folders, beside, progress)
    measured_groups = []
    for number, (title, runs) in enumerate(groups):
        progress("measuring", number, len(groups), title)
        if not unpaired:
            refuse_unpaired(runs)
        measured_groups.append(_group(title, runs, live=number == 0))
    progress("measuring", len(groups), len(groups))
    comparison = Comparison(created_at=now(), groups=measured_groups)
    html = page(comparison, [runs for _, runs in groups], progress)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, html.encode())
    return comparison


def _refuse_out(out: Path) -> None:
    """Raise BadOption before any work if the page can't be written at `out`."""
    if out.is_dir():
        raise BadOption(f"--out {out}: is a folder. Give a file, for example {out / 'report.html'}.")
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise BadOption(f"--out {out}: {parent} is a file, not a folder. Choose another --out.")


def _open(folders: Sequence[Path], beside: Sequence[Path], progress: Progress) -> list[tuple[str, list[Run]]]:
    distinct = list(dict.fromkeys(folder.resolve() for folder in folders))
    if not distinct:
        raise BadOption("Give at least one run folder, for example: trainer compare runs/* --out report.html")
    live = []
    for number, folder in enumerate(distinct):
        progress("reading runs", number, len(distinct), folder.name)
        live.append(Run.open(folder))
    progress("reading runs", len(distinct), len(distinct))
    groups = [("These runs", live)]
    for folder in beside:
        groups += runs_below(folder)
    return [(title, label_versions(runs)) for title, runs in groups]


def _group(title: str, runs: list[Run], live: bool) -> Group:
    equal, differing = settings(runs)
    names = Counter(run.report.captions for run in runs)
    labels = [run.report.captions if names[run.report.captions] == 1 else run.name for run in runs]
    if len(set(labels)) < len(labels):
        labels = [str(run.folder.name) for run in runs]
    if len(set(labels)) < len(labels):
        labels = [f"{label} ({number})" for number, label in enumerate(labels, 1)]
    compared = [measured(run, label, own) for run, label, own in zip(runs, labels, differing, strict=True)]
    found = differences(runs)
    weighed = weigh(runs, compared, paired=not found)
    said = verdict(weighed)
    first = runs[0].report
    return Group(
        title=title,
        live=live,
        date=min(run.report.started_at for run in runs)[:10],
        device=", ".join(dict.fromkeys(_device(run) for run in runs)),
        dataset=first.snapshot.dataset,
        images_identity=first.snapshot.images_identity,
        train_images=first.snapshot.train_images,
        held_out_images=first.snapshot.held_out_images,
        base=first.base,
        base_held_out=_base(runs),
        tracks=all_tracks(runs),
        paired=not found,
        differences=found,
        settings=equal,
        prompts=_prompts(runs),
        seeds=list(dict.fromkeys(seed for run in runs for seed in run.report.seeds)),
        examples=shared_examples(runs),
        runs=compared,
        headline=said.headline,
        chosen=said.chosen,
        judged_epoch=weighed.epoch,
        summary=said.summary,
    )


def _base(runs: list[Run]) -> dict[str, Estimate]:
    """Return the base's held-out loss by track, from the first run that measured it."""
    found: dict[str, Estimate] = {}
    for run in runs:
        evaluation = run.evaluation(0)
        for track, losses in (evaluation.held_out if evaluation else {}).items():
            value = estimate(losses)
            if value is not None:
                found.setdefault(track, value)
    return found


def _prompts(runs: list[Run]) -> list[Prompt]:
    """Return the prompts of all runs, each text once, in the first run's order."""
    by_text: dict[str, Prompt] = {}
    for run in runs:
        for prompt in run.report.prompts:
            by_text.setdefault(prompt.text, prompt)
    return list(by_text.values())


def _device(run: Run) -> str:
    environment = run.report.environment
    return next((environment[key] for key in DEVICE_KEYS if environment.get(key)), "unknown device")


def text_of_comparison(comparison: Comparison, out: Path) -> str:
    """Return each group's headline and findings, then the page's path."""
    lines = []
    for group in comparison.groups:
        lines += [f"{group.title}: {group.dataset}, {group.date}, {group.device}", f"  {group.headline}"]
        lines += [f"  - {sentence}" for sentence in group.summary]
    return "\n".join([*lines, str(out)])


__all__ = ["compare", "in_words"]
