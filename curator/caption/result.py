"""Result of a caption run."""

from __future__ import annotations

from pydantic import BaseModel, Field

from curator.captioners import Rejected


class Example(BaseModel):
    file_name: str
    image_sha256: str
    text: str


class Effort(BaseModel):
    """Time, tokens and cost of a caption model, failed images included."""

    loading_seconds: float = Field(default=0.0, description="Time to load the model.")
    seconds: float = Field(default=0.0, description="From the first image read to the last caption.")
    pictures: int = Field(default=0, description="Images processed, failed ones included.")
    images_per_second: float = 0.0
    batch_size: int = Field(default=0, description="Images at once: requested, or found to be the fastest.")
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


class CaptionResult(BaseModel):
    """The result of a caption run. Each image of the dataset is counted in exactly one of `new` to `not_chosen`."""

    dataset: str
    set_name: str
    strategy: str
    strategy_version: int
    images: int
    new: int = Field(default=0, description="Images that got their first caption.")
    changed: int = Field(default=0, description="Captions replaced by another text.")
    unchanged: int = Field(default=0, description="Captions that stay: the inputs or the new text are the same.")
    kept_by_person: int = Field(default=0, description="A person's captions, which no strategy replaces.")
    outdated: int = Field(default=0, description="Stale captions that `--only missing` leaves alone.")
    failed: dict[str, int] = Field(default_factory=dict, description="Images that failed in this run, by reason.")
    without_caption: dict[str, int] = Field(
        default_factory=dict, description="Images for which the strategy has no caption, by reason."
    )
    not_reached: int = Field(default=0, description="Images left for the next run by `--limit`.")
    not_chosen: int = Field(default=0, description="Images that `--where` excludes.")
    taken_out: int = Field(default=0, description="Earlier captions of this strategy that it removed.")
    made_otherwise: dict[str, int] = Field(default_factory=dict, description="Stale captions, by what has changed.")
    effort: Effort | None = Field(default=None, description="Only if a model made the captions.")
    rejects: list[Rejected] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    examples: list[Example] = Field(default_factory=list)
