"""The comparison: runs side by side on the same prompts, seeds, noise and held-out images. See `spec/comparison.md`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.document import Document, Part, Sha256, Timestamp
from schemas.run import Cost, ExampleImage, Prompt


class Estimate(Part):
    """A mean over images with a 95% bootstrap interval (images resampled)."""

    mean: float
    low: float
    high: float
    images: int


class EpochMeasures(Part):
    """What one checkpoint of one run shows. Changes are against the run's own epoch 0 (the base), image by image."""

    epoch: int
    held_out_change: dict[str, Estimate] = Field(description="By track: held-out loss minus the base's.")
    reliance: dict[str, Estimate] = Field(
        description="By track: loss with shuffled captions minus with true ones. 0: words don't matter."
    )
    train_subset_change: Estimate | None
    leakage: Estimate | None
    train_loss: float | None
    seconds: float = Field(description="Training, sampling and evaluating up to this checkpoint.")
    cost: float | None


class ComparedRun(Part):
    """One run's line in the comparison."""

    name: str
    captions: str
    status: str
    epochs: list[EpochMeasures]
    cost: Cost
    steps: int


class Group(Part):
    """Runs that may be compared with one another."""

    title: str
    date: str = Field(description="Day of the first run, YYYY-MM-DD.")
    device: str
    dataset: str
    images_identity: Sha256
    train_images: int
    held_out_images: int
    paired: bool
    differences: list[str] = Field(description="What differs between the runs, where they are not paired.")
    prompts: list[Prompt]
    seeds: list[int]
    examples: list[ExampleImage]
    runs: list[ComparedRun]
    summary: list[str] = Field(description="What the figures say, in plain words.")


class Comparison(Document):
    """What `trainer compare --json` prints and its page shows."""

    type: Literal["amatl/comparison/v1"] = "amatl/comparison/v1"
    created_at: Timestamp
    groups: list[Group]
