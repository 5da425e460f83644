"""Result of a comparison of caption sets.

Figures are over the images that every compared set captions; only `stats` is over all captions of a set.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from curator.caption_sets.acceptance import Acceptance
from curator.caption_sets.stats import Frequent, StatsResult


class Coverage(BaseModel):
    images: int = Field(description="Compared images that have a value.")
    mentioned: int = Field(description="Images among them whose caption mentions a value.")
    share: float = Field(description="mentioned / images, 0 to 1.")
    values_share: float = Field(description="Share of all images' values that the captions mention, 0 to 1.")


class Measure(BaseModel):
    mean: float
    median: float
    low: float = Field(description="The 10th percentile.")
    high: float = Field(description="The 90th percentile.")


class ClipScore(BaseModel):
    """100 x the cosine of image and caption in a CLIP model, at least 0 (CLIPScore: Hessel et al. 2021)."""

    model: str
    revision: str
    images: int
    score: Measure
    best_share: float = Field(description="Share of images whose caption no other set's outscores, 0 to 1.")
    truncated: int = Field(description="Captions cut at the model's token limit.")


class ComparedSet(BaseModel):
    reference: str
    label: str = Field(description="The reference without the dataset.")
    made_by: list[str] = Field(description="Strategies and people, most captions first.")
    stats: StatsResult
    fields: dict[str, Coverage]
    vocabulary: int = Field(description="Different words in the compared captions.")
    only_here: int = Field(description="Words that no other compared set has.")
    only_here_words: list[Frequent] = Field(description="The most frequent of these.")
    clip: ClipScore | None = None
    acceptance: Acceptance | None = Field(None, description="People's answers to its captions; null if none was shown.")


class Pair(BaseModel):
    first: str
    second: str
    token_f1: Measure
    edit_distance: Measure
    edit_share: Measure = Field(description="Edit distance / length of the longer caption.")
    identical: float = Field(description="Share of images with the same caption, 0 to 1.")


class Differing(BaseModel):
    image_sha256: str
    file_name: str
    path: str | None = Field(description="Null if the file is gone.")
    token_f1: float = Field(description="Mean over the pairs of sets.")
    captions: dict[str, str] = Field(description="By label.")
    clip: dict[str, float] = {}


class CompareResult(BaseModel):
    dataset: str
    images: int = Field(description="Images with a caption in every set.")
    images_of_dataset: int
    sets: list[ComparedSet]
    pairs: list[Pair]
    differing: list[Differing]
    headline: str
    page: str | None
    notices: list[str]
    compared_at: str
