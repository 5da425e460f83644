"""What a caption run says about itself."""

from __future__ import annotations

from pydantic import BaseModel, Field

from curator.captioners import Rejected


class Example(BaseModel):
    """A caption to look at."""

    file_name: str
    image_sha256: str
    text: str


class Effort(BaseModel):
    """What a machine took for its captions, those that failed included."""

    loading_seconds: float = Field(default=0.0, description="Until the model was there.")
    seconds: float = Field(default=0.0, description="From the first picture read to the last caption written.")
    pictures: int = Field(default=0, description="That it was shown, those that failed included.")
    images_per_second: float = 0.0
    batch_size: int = Field(default=0, description="Pictures at once: as asked for, or as found to be best.")
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


class CaptionResult(BaseModel):
    """What a caption run did. Every image of the dataset is in exactly one of `new` to `not_chosen`."""

    dataset: str
    set_name: str
    strategy: str
    strategy_version: int
    images: int
    new: int = Field(default=0, description="Images that had no caption and have one now.")
    changed: int = Field(default=0, description="Captions replaced by another text.")
    unchanged: int = Field(
        default=0, description="Captions that stay: made from the same inputs, or the same text again."
    )
    kept_by_person: int = Field(default=0, description="A person's captions, which no strategy replaces.")
    outdated: int = Field(default=0, description="Captions made otherwise, left alone by `--only missing`.")
    failed: dict[str, int] = Field(default_factory=dict, description="Images it couldn't caption this time, by reason.")
    without_caption: dict[str, int] = Field(
        default_factory=dict, description="Images it has no caption for, by reason."
    )
    not_reached: int = Field(default=0, description="Images left undone by `--limit`.")
    not_chosen: int = Field(default=0, description="Images that `--where` doesn't hold for.")
    taken_out: int = Field(default=0, description="Of those without: earlier captions of this strategy, taken out.")
    made_otherwise: dict[str, int] = Field(
        default_factory=dict,
        description="Captions with something against them: what was different when they were made.",
    )
    effort: Effort | None = Field(default=None, description="Where a machine was at work.")
    rejects: list[Rejected] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    examples: list[Example] = Field(default_factory=list)
