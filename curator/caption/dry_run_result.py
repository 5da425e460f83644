"""Result of a dry run of `caption`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from curator.caption.result import Effort


class DryPicture(BaseModel):
    """A picture and what the strategy says of it. `text` null: no caption, for `reason`."""

    file_name: str
    image_sha256: str
    path: str
    text: str | None
    reason: str | None
    current: str | None = Field(description="Its caption in the set now.")


class DryRunResult(BaseModel):
    """What a dry run saw. Nothing of it is in the catalog; times are of these pictures, which are few."""

    dataset: str
    set_name: str
    strategy: str
    strategy_version: int
    model: str | None
    model_revision: str | None
    options: dict[str, Any]
    images: int
    not_chosen: int = Field(description="Images that `--where` doesn't hold for.")
    to_caption: int = Field(description="Images that the run would caption.")
    pictures: list[DryPicture]
    effort: Effort
    seconds_each: float
    cost_usd_each: float
    estimated_seconds: float = Field(description="For `to_caption`, the loading of the model left out.")
    estimated_cost_usd: float
    made_otherwise: dict[str, int]
    warnings: list[str]
    made_at: str
    page: str = Field(description="The contact sheet.")
