"""Next steps for a dataset: what is missing on the way to a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel

from curator.caption_sets.versions import SetVersions
from curator.datasets import DatasetHealth
from curator.datasets.first_captions import first_captions
from schemas.edge.words import plural

Kind = Literal["caption", "fill", "commit", "snapshot", "train", "rejects"]


class NextStep(BaseModel):
    """A step, with its command if there is one."""

    kind: Kind
    text: str
    set_name: str | None = None
    command: str | None = None


def next_steps(
    health: DatasetHealth, sets: list[SetVersions], snapshots: int, runs: int, fields: Sequence[str] = ()
) -> list[NextStep]:
    """Return the most urgent step of each kind in the order of the work, then the others.

    `sets`, `snapshots`, `runs` and the metadata's `fields` are this dataset's. Sets that lack fewest captions come
    first, as do sets with most new captions to commit.
    """
    name = health.dataset
    steps = []
    if not health.sets:
        command = first_captions(name, fields)
        steps.append(NextStep(kind="caption", text="No captions yet. Make a first set by a strategy.", command=command))
    for found in sorted(health.sets, key=lambda found: found.missing):
        if found.missing and found.captions:
            text = f"{plural(found.missing, 'image')} without a caption in {found.set_name}."
            steps.append(NextStep(kind="fill", text=text, set_name=found.set_name))
    for line in sorted(sets, key=lambda line: -line.uncommitted):
        if line.uncommitted:
            text = f"{plural(line.uncommitted, 'caption')} of {line.set_name} in no version yet."
            steps.append(NextStep(kind="commit", text=text, set_name=line.set_name))
    committed = [f"{name}/{line.set_name}@{line.versions[-1].number}" for line in sets if line.versions]
    if committed and not snapshots:
        told = f"curator snapshot {' '.join(committed[:2])} --out snapshots/{name}"
        steps.append(NextStep(kind="snapshot", text="Export a snapshot that a trainer can use.", command=told))
    if snapshots and not runs:
        steps.append(NextStep(kind="train", text="Train on its snapshot, then post the run here."))
    if health.rejects:
        text = f"{plural(health.rejects, 'file')} couldn't be used."
        steps.append(NextStep(kind="rejects", text=text, command=f"curator rejects {name}"))
    return _one_of_each_first(steps)


def _one_of_each_first(steps: list[NextStep]) -> list[NextStep]:
    """Put the first step of each kind first: many sets of one kind must not hide the next kind."""
    kinds = [step.kind for step in steps]
    order = sorted(range(len(steps)), key=lambda at: kinds[:at].count(kinds[at]))
    return [steps[at] for at in order]
