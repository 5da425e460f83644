"""The gallery's filters, which are the parameters of API and pages."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

LONGEST_TEXT = 1_000
LARGEST = 2**31 - 1

Status = Literal["captioned", "missing", "empty", "person", "machine", "failed", "rejected"]


class GalleryFilters(BaseModel):
    """All filters must match; those on captions must match one caption."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    caption_set: str | None = Field(
        default=None,
        description="The set that caption filters apply to; without it, any set. Without caption filters: images that "
        "have a caption in this set.",
    )
    split: Literal["train", "validation", "none"] | None = Field(default=None, description="`none`: not assigned yet.")
    status: Status | None = Field(
        default=None,
        description="`missing`: no caption; `empty`: an empty caption; `person`, `machine`: who wrote the caption; "
        "`failed`: the last run of a strategy couldn't caption it; `rejected`: by a person in Label Studio.",
    )
    strategy: str | None = Field(default=None, description="The strategy that made the caption.", examples=["template"])
    person: str | None = Field(default=None, description="The person who wrote the caption.")
    text: str | None = Field(
        default=None,
        max_length=LONGEST_TEXT,
        description="Text in the caption; case is ignored.",
        examples=["fox"],
    )
    min_length: int | None = Field(default=None, ge=0, le=LARGEST, description="Length of the caption in characters.")
    max_length: int | None = Field(default=None, ge=0, le=LARGEST, description="Length of the caption in characters.")
    min_width: int | None = Field(default=None, ge=0, le=LARGEST, description="Pixels, upright.")
    max_width: int | None = Field(default=None, ge=0, le=LARGEST, description="Pixels, upright.")
    min_height: int | None = Field(default=None, ge=0, le=LARGEST, description="Pixels, upright.")
    max_height: int | None = Field(default=None, ge=0, le=LARGEST, description="Pixels, upright.")
    metadata: tuple[str, ...] = Field(
        default=(), max_length=20, description="`field=value`: a metadata field equals the value, or is a list with it."
    )
    near_duplicates: bool | None = Field(
        default=None, description="Only images with near-duplicates, or only those without."
    )
    where: str | None = Field(
        default=None,
        description="An expression, as in `--where` of the commands; a caption is `caption.SET`.",
        examples=["width_px >= 512 and license = 'CC0'"],
    )

    @property
    def only_text(self) -> bool:
        """True if the only caption filter is a text in any set."""
        other = self.model_copy(update={"text": None})
        return bool(self.text) and self.caption_set is None and not other.about_captions

    @property
    def about_captions(self) -> bool:
        """True if a filter needs a single caption."""
        filters = (self.strategy, self.person, self.text, self.min_length, self.max_length)
        if any(value is not None for value in filters):
            return True
        # The other statuses are about the set: missing captions, failures, rejected images.
        return self.status in ("captioned", "empty", "person", "machine") or (
            self.status is None and self.caption_set is not None
        )
