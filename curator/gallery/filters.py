"""What a gallery may be narrowed to: one model, whose fields are the parameters of the API and of the pages."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

LONGEST_TEXT = 1_000
LARGEST = 2**31 - 1

Status = Literal["captioned", "missing", "empty", "person", "machine", "failed", "rejected"]


class GalleryFilters(BaseModel):
    """Every one given must hold. What is asked of captions must hold of one and the same caption."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    caption_set: str | None = Field(
        default=None,
        description="The set that is asked about; without it any set will do. Where nothing else asks about its "
        "captions: images that have a caption in it.",
    )
    split: Literal["train", "validation", "none"] | None = Field(default=None, description="`none`: not placed yet.")
    status: Status | None = Field(
        default=None,
        description="`missing`: no caption; `empty`: the empty caption; `person`, `machine`: whose the caption is; "
        "`failed`: a strategy couldn't caption it the last time; `rejected`: by a person in Label Studio.",
    )
    strategy: str | None = Field(default=None, description="What made the caption.", examples=["template"])
    person: str | None = Field(default=None, description="Whose caption it is, where a person wrote it.")
    text: str | None = Field(
        default=None,
        max_length=LONGEST_TEXT,
        description="A piece of the caption, whatever its case.",
        examples=["fox"],
    )
    min_length: int | None = Field(default=None, ge=0, le=LARGEST, description="Characters of the caption.")
    max_length: int | None = Field(default=None, ge=0, le=LARGEST, description="Characters of the caption.")
    min_width: int | None = Field(default=None, ge=0, le=LARGEST, description="In pixels, upright.")
    max_width: int | None = Field(default=None, ge=0, le=LARGEST, description="In pixels, upright.")
    min_height: int | None = Field(default=None, ge=0, le=LARGEST, description="In pixels, upright.")
    max_height: int | None = Field(default=None, ge=0, le=LARGEST, description="In pixels, upright.")
    metadata: tuple[str, ...] = Field(
        default=(), max_length=20, description="`field=value`: a metadata field that is this, or a list that has it."
    )
    near_duplicates: bool | None = Field(
        default=None, description="Only images with near-duplicates, or only those without."
    )
    where: str | None = Field(
        default=None,
        description="An expression, as `--where` of the commands takes it; its captions are `caption.SET`.",
        examples=["width_px >= 512 and license = 'CC0'"],
    )

    @property
    def asks_for_text_alone(self) -> bool:
        """Whether any caption will do that has the text."""
        other = self.model_copy(update={"text": None})
        return bool(self.text) and self.caption_set is None and not other.asks_of_captions

    @property
    def asks_of_captions(self) -> bool:
        """Whether a single caption is asked for."""
        asked = (self.strategy, self.person, self.text, self.min_length, self.max_length)
        if any(value is not None for value in asked):
            return True
        # The other statuses ask about the set itself: what it lacks, failed at, or had rejected.
        return self.status in ("captioned", "empty", "person", "machine") or (
            self.status is None and self.caption_set is not None
        )
