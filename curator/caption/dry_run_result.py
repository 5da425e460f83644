"""Result of a dry run of `caption`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from curator.caption.result import Effort


class DryRunImage(BaseModel):
    """An image with its new caption, or (`text` null) the reason why there is none."""

    file_name: str
    image_sha256: str
    path: str
    text: str | None
    reason: str | None
    current: str | None = Field(description="The image's current caption in the set.")


class DryRunResult(BaseModel):
    dataset: str
    set_name: str
    strategy: str
    strategy_version: int
    model: str | None
    model_revision: str | None
    options: dict[str, Any]
    images: int
    not_chosen: int = Field(description="Images that `--where` excludes.")
    to_caption: int = Field(description="Images that the run would caption.")
    pictures: list[DryRunImage]
    effort: Effort
    seconds_each: float
    cost_usd_each: float
    estimated_seconds: float = Field(description="For `to_caption`, without loading the model.")
    estimated_cost_usd: float
    made_otherwise: dict[str, int]
    warnings: list[str]
    made_at: str
    page: str = Field(description="Path of the contact sheet.")
