"""The run report: one training on one snapshot and one track. Prose: `spec/run.md`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from schemas.document import Document, FileRef, Part, RelativePath, Sha256, Timestamp
from schemas.snapshot import Split, Track

Role = Literal[
    "seen-caption",
    "held-out-caption",
    "other-track-caption",
    "made-up-subject",
    "generic",
    "fighting-style",
    "unrelated",
    "custom",
]


class Prompt(Part):
    """A prompt that every checkpoint draws, and why it is asked."""

    text: str
    role: Role = "custom"
    image_sha256: Sha256 | None = Field(default=None, description="The real image this prompt is a caption of.")
    track: str | None = Field(default=None, description="The track the caption was taken from.")


class SnapshotRef(Part):
    """The snapshot a run trained on."""

    identity: Sha256
    images_identity: Sha256
    dataset: str
    tracks: list[Track]
    train_images: int
    held_out_images: int


class BaseModelRef(Part):
    """The model training started from."""

    name: str = Field(description="Folder or hub name as given.")
    family: str = Field(examples=["stable-diffusion"])
    digest: Sha256 = Field(description="Over the weights of every component, by name and content.")
    revision: str | None = None


class Ancestor(Part):
    """A model in the line a run descends from: one from elsewhere, or what an earlier run or merge of ours made."""

    name: str = Field(description="Folder or hub name as given; of a run or merge of ours, its name.")
    digest: Sha256 = Field(description="Of its weights, as `base.digest` of what was made of it.")
    method: str | None = Field(
        default=None, description="How it was made; null: not by us.", examples=["full", "merge"]
    )
    epoch: int | None = Field(default=None, description="The checkpoint taken.")
    snapshot: Sha256 | None = Field(default=None, description="Identity of the snapshot it was trained on.")
    captions: str | None = None
    config_digest: Sha256 | None = None


class Grid(Part):
    """A picture of tiles, row by row: rows are prompts, columns are seeds (for references: one row of images)."""

    file: FileRef
    rows: int
    columns: int
    tile_px: int


class ExampleImage(Part):
    """A real image and what each track calls it; its position in the list is its tile in the `references` grid."""

    image_sha256: Sha256
    split: Split
    captions: dict[str, str]


class Evaluation(Part):
    """Denoising losses at fixed timesteps and noise (mean squared error of the prediction, mean over timesteps).

    Lists are per image, in the order of the report's `held_out_images` and `train_subset_images`, so that differences
    between checkpoints and runs can be taken image by image. Shuffled: each image under another image's caption.
    """

    held_out: dict[str, list[float]] = Field(description="By track: this model under that track's captions.")
    held_out_shuffled: dict[str, list[float]] = Field(
        description="By track, captions permuted among the images; without tracks whose captions are all equal."
    )
    train_subset: dict[str, list[float]] = Field(
        description="By track: a fixed subset of the training images under the run's own track."
    )
    leakage: list[float] = Field(
        description="For each (unrelated prompt, seed): RMS pixel distance, 0 to 1, from the base's sample."
    )
    timesteps: list[int] = Field(default_factory=list, description="The fixed timesteps every loss is the mean of.")
    held_out_by_timestep: list[list[float]] = Field(
        default_factory=list, description="For each of `timesteps`: held-out losses under the run's own track."
    )
    train_subset_by_timestep: list[list[float]] = Field(
        default_factory=list, description="For each of `timesteps`: losses of the training subset."
    )


class EpochRecord(Part):
    """One epoch of training."""

    epoch: int
    steps: int = Field(description="Optimiser steps since the start.")
    train_loss: float
    learning_rate: float
    seconds: float = Field(description="Training alone.")
    images_per_second: float


class Checkpoint(Part):
    """A saved model, its pictures and its losses. Epoch 0 is the base."""

    epoch: int
    folder: RelativePath = Field(
        description="Relative to the run's folder: a whole model, or an adapter. May have been removed since."
    )
    saved_at: Timestamp
    grid: Grid | None
    evaluation: Evaluation | None
    sampling_seconds: float
    evaluating_seconds: float


class Stopping(Part):
    """When training stopped paying, by held-out loss under the run's own captions, and what that means in words."""

    best_epoch: int = Field(description="The checkpoint with the lowest mean loss.")
    plateau_epoch: int = Field(description="The first checkpoint that no later one clearly betters.")
    still_improving: bool = Field(description="The plateau is the last checkpoint there is.")
    worse_from_epoch: int | None = Field(description="The first later checkpoint that is clearly worse.")
    stopped_early: bool = Field(description="Patience ended the run before its last epoch.")
    finding: str


class Truncation(Part):
    """Captions that lose words past the tokenizer's limit."""

    token_limit: int
    captions: int
    truncated: int
    examples: list[str] = Field(default_factory=list)


class Cost(Part):
    """Seconds by what they went to, and money where a price was given."""

    training_seconds: float
    sampling_seconds: float
    evaluating_seconds: float
    preparing_seconds: float
    price_per_hour: float | None = None


class RunReport(Document):
    """`run.json` in a run's folder, rewritten whole at every checkpoint."""

    type: Literal["amatl/run/v1"] = "amatl/run/v1"
    name: str
    status: Literal["running", "interrupted", "complete"]
    started_at: Timestamp
    updated_at: Timestamp
    snapshot: SnapshotRef
    captions: str = Field(description="The track trained on, or a mix of several: `template:0.7,human:0.3`.")
    base: BaseModelRef
    lineage: list[Ancestor] = Field(
        default_factory=list, description="Every model on the way to the base, oldest first; the last is the base."
    )
    config: dict[str, Any] = Field(description="The whole resolved configuration.")
    config_digest: Sha256
    environment: dict[str, str] = Field(description="Device, versions, host platform.")
    prompts: list[Prompt]
    seeds: list[int]
    held_out_images: list[Sha256]
    train_subset_images: list[Sha256]
    class_images: list[Sha256] = Field(
        default_factory=list, description="Pictures of a class, drawn by the base, that were trained on too."
    )
    examples: list[ExampleImage]
    references: Grid | None
    prompt_references: list[int | None] = Field(
        description="For each prompt: where its real image is in `examples`, or null."
    )
    truncation: Truncation
    epochs: list[EpochRecord]
    checkpoints: list[Checkpoint]
    cost: Cost
    stopping: Stopping | None = Field(default=None, description="Null until two checkpoints are measured.")
