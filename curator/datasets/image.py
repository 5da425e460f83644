"""One image of a dataset: facts, metadata, current captions with their origin, near-duplicates."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, Field

from curator.caption_sets.reference import check_dataset
from curator.catalog import Catalog
from curator.catalog.working_copy import row_of_image, working_copy
from schemas.errors import NotFound


class ImageCaption(BaseModel):
    """The image's caption in a set, and what made it."""

    set_name: str
    caption_id: int
    text: str
    parent_id: int | None = Field(description="The revision it replaced.")
    run_id: int
    captioned_at: str
    strategy: str
    strategy_version: int
    options: dict[str, Any]
    model: str | None
    model_revision: str | None
    by_person: bool
    person: str
    restored_from: str | None
    restored_by: str | None


class NearDuplicate(BaseModel):
    """Another image of its near-duplicate group."""

    image_sha256: str
    distance: int = Field(description="Bits in which the perceptual hash differs from the representative's.")
    representative: bool


class ImageResult(BaseModel):
    """An image. Width and height are upright."""

    dataset: str
    sha256: str
    number: int
    file_name: str
    file_names: list[str] = Field(description="Every name it has in the dataset.")
    width_px: int
    height_px: int
    size_bytes: int
    format: str
    has_alpha: bool
    license: str | None
    source_url: str | None
    split: str | None = Field(description="Null: not placed yet.")
    metadata: dict[str, Any]
    captions: list[ImageCaption]
    near_duplicates: list[NearDuplicate]


def image(catalog: Catalog, dataset: str, sha256: str) -> ImageResult:
    """Return the image with this SHA-256. Raises NotFound."""
    facts = _facts(catalog, dataset, sha256)
    several = facts["paths"] > 1
    group = [] if facts["alone"] else catalog.group_of_image(dataset, sha256).to_dicts()
    return ImageResult(
        **{name: facts[name] for name in facts.keys() & ImageResult.model_fields},
        dataset=dataset,
        file_names=catalog.names_of_image(dataset, sha256) if several else [facts["file_name"]],
        metadata=json.loads(catalog.file_row(facts["file_id"])["metadata"] or "{}"),
        captions=image_captions(catalog, dataset, sha256),
        near_duplicates=[NearDuplicate.model_validate(row) for row in group if row["image_sha256"] != sha256],
    )


def _facts(catalog: Catalog, dataset: str, sha256: str) -> dict[str, Any]:
    """Return its row of the working copy: the catalog's tables have no index by image."""
    check_dataset(catalog, dataset)
    facts = row_of_image(working_copy(catalog, dataset), sha256)
    if facts is None:
        raise NotFound(f"{dataset} has no image {sha256[:12]}.")
    return facts


def image_captions(catalog: Catalog, dataset: str, sha256: str) -> list[ImageCaption]:
    """Return the current captions by set, without those taken out."""
    rows = catalog.captions_of_image(dataset, sha256).iter_rows(named=True)
    return [
        ImageCaption.model_validate(row | {"options": json.loads(row["options"])})
        for row in rows
        if row["text"] is not None
    ]


def image_caption(catalog: Catalog, dataset: str, sha256: str, set_name: str) -> ImageCaption:
    """Return the current caption in one set. Raises NotFound."""
    facts = _facts(catalog, dataset, sha256)
    for caption in image_captions(catalog, dataset, sha256):
        if caption.set_name == set_name:
            return caption
    raise NotFound(f"{facts['file_name']} has no caption in {dataset}/{set_name}.")
