"""What a comparison of caption sets holds.

Figures are over the images that every compared set has a caption of, but for `stats`, which are over all of a set's
captions.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from curator.caption_sets.acceptance import Acceptance
from curator.caption_sets.stats import Frequent, StatsResult


class Coverage(BaseModel):
    """How much of a metadata field the captions say."""

    images: int = Field(description="Compared images that have a value.")
    mentioned: int = Field(description="Of those: images whose caption says a value, or one of several.")
    share: float = Field(description="mentioned / images, 0 to 1.")
    values_share: float = Field(description="Of all values of all images, the share that the captions say, 0 to 1.")


class Measure(BaseModel):
    """A figure over images."""

    mean: float
    median: float
    low: float = Field(description="The 10th percentile.")
    high: float = Field(description="The 90th percentile.")


class ClipScore(BaseModel):
    """100 x the cosine of picture and caption in a CLIP model, not below 0 (CLIPScore: Hessel et al. 2021)."""

    model: str
    revision: str
    images: int
    score: Measure
    best_share: float = Field(description="Share of the images where no other set's caption scores higher, 0 to 1.")
    truncated: int = Field(description="Captions that the model read only the start of.")


class ComparedSet(BaseModel):
    """One set, by itself and against all others."""

    reference: str
    label: str = Field(description="The reference without the dataset.")
    made_by: list[str] = Field(description="Strategies and people, the one with the most captions first.")
    stats: StatsResult
    fields: dict[str, Coverage]
    vocabulary: int = Field(description="Different words in the compared captions.")
    only_here: int = Field(description="Of those: words that no other compared set has.")
    only_here_words: list[Frequent] = Field(description="The most frequent of them.")
    clip: ClipScore | None = None
    acceptance: Acceptance | None = Field(None, description="What people did with them; null where no one saw them.")


class Pair(BaseModel):
    """How alike two sets are, caption by caption."""

    first: str
    second: str
    token_f1: Measure
    edit_distance: Measure
    edit_share: Measure = Field(description="Edit distance in parts of the longer caption.")
    identical: float = Field(description="Share of the images with the very same caption, 0 to 1.")


class Differing(BaseModel):
    """An image that the sets describe most differently."""

    image_sha256: str
    file_name: str
    path: str | None = Field(description="Null where it isn't on this disk any more.")
    token_f1: float = Field(description="Mean over the pairs of sets.")
    captions: dict[str, str] = Field(description="By label.")
    clip: dict[str, float] = {}


class CompareResult(BaseModel):
    """What `curator compare` shows."""

    dataset: str
    images: int = Field(description="Images that every set has a caption of.")
    images_of_dataset: int
    sets: list[ComparedSet]
    pairs: list[Pair]
    differing: list[Differing]
    headline: str
    page: str | None
    notices: list[str]
    compared_at: str
