"""The comparison: runs side by side on the same prompts, seeds, noise and held-out images. See `spec/comparison.md`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from schemas.document import Document, Part, Sha256, Timestamp
from schemas.run import BaseModelRef, Cost, ExampleImage, Prompt, Truncation
from schemas.snapshot import Track


class Estimate(Part):
    """A mean with a 95% bootstrap interval. What was resampled, `count` of them, is what the mean is over."""

    mean: float
    low: float
    high: float
    count: int = Field(ge=1, description="Images; for leakage, samples.")


class EpochMeasures(Part):
    """The measures of one checkpoint of a run. Changes are against the run's own epoch 0 (the base), image by image."""

    epoch: int
    steps: int = Field(description="Optimiser steps since the start.")
    held_out_change: dict[str, Estimate] = Field(
        description="By track: held-out loss under that track minus the base's."
    )
    reliance: dict[str, Estimate] = Field(
        description="By track: held-out loss with shuffled captions minus with true ones. Zero: the words don't matter."
    )
    train_subset_change: Estimate | None = Field(
        description="Loss on the fixed subset of training images under the run's own track, minus the base's."
    )
    gap: Estimate | None = Field(
        description="Held-out change minus train-subset change, own track. Above zero: learned by heart."
    )
    leakage: Estimate | None = Field(
        description="Distance (0 to 1) from the base's samples on prompts that have nothing to do with the training."
    )
    train_loss: float | None
    seconds: float = Field(description="Training, sampling and evaluating up to this checkpoint.")
    cost: float | None = Field(description="The same in money, where the run was given a price an hour.")


class ComparedRun(Part):
    """One run's line in the comparison."""

    name: str
    label: str = Field(description="What the page calls it: the track it trained on, or its name where that repeats.")
    captions: str
    own_track: str | None = Field(description="The key of its own track in the measures; null where it has none there.")
    status: str
    started_at: Timestamp
    epochs_trained: int
    steps: int
    plateau_epoch: int | None = Field(
        description="First checkpoint that no later one betters clearly (own track, held out, 95%)."
    )
    still_improving: bool = Field(description="The plateau is the last checkpoint: longer training may pay.")
    worse_from_epoch: int | None = Field(
        description="First checkpoint after the plateau that is clearly worse than it."
    )
    epochs: list[EpochMeasures]
    cost: Cost
    truncation: Truncation
    snapshot_identity: Sha256
    config_digest: Sha256
    differs: dict[str, Any] = Field(description="Its own values of the settings that aren't equal in all runs.")


class Group(Part):
    """Runs that may be compared with one another."""

    title: str
    live: bool = Field(description="The runs named on the command line; not a study set beside them.")
    date: str = Field(description="Day of the first run, YYYY-MM-DD.")
    device: str
    dataset: str
    images_identity: Sha256
    train_images: int
    held_out_images: int
    base: BaseModelRef
    base_held_out: dict[str, Estimate] = Field(description="By track: the base's own held-out loss.")
    tracks: dict[str, Track] = Field(description="By the name the measures use.")
    paired: bool
    differences: list[str] = Field(description="What differs between the runs, where they are not paired.")
    settings: dict[str, Any] = Field(description="Configuration and environment that are equal in all runs.")
    prompts: list[Prompt]
    seeds: list[int]
    examples: list[ExampleImage]
    runs: list[ComparedRun]
    headline: str = Field(description="The answer in one line, as far as the figures carry it.")
    chosen: list[str] = Field(description="Labels of the runs the headline names.")
    judged_epoch: int | None = Field(description="The checkpoint at which the runs are weighed against one another.")
    summary: list[str] = Field(description="What the figures say, in plain words.")


class Comparison(Document):
    """The result of `trainer compare`: printed by `--json`, shown by its page."""

    type: Literal["amatl/comparison/v1"] = "amatl/comparison/v1"
    created_at: Timestamp
    groups: list[Group]
