"""Every caption that an image ever had, with set, author, time, parameters and versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from curator.catalog import Catalog
from schemas.errors import BadOption, NotFound

CANDIDATES = 5


class Source(BaseModel):
    """A caption of another set from which this one was composed. `text` null: the image had none there."""

    set_name: str
    number: int | None = Field(description="The version; null: the set at that time.")
    caption_id: int | None
    text: str | None


class Revision(BaseModel):
    dataset: str
    set_name: str
    caption_id: int
    text: str | None
    current: bool
    versions: list[int] = Field(description="The committed versions that hold this revision.")
    strategy: str
    strategy_version: int
    options: dict[str, Any]
    model: str | None
    model_revision: str | None
    by_person: bool
    person: str
    restored_from: str | None
    restored_by: str | None
    parent_id: int | None = Field(description="The revision it replaced.")
    sources: list[Source] = Field(description="The captions of other sets from which it was composed.")
    inputs_digest: str
    captioned_at: str


class ImageFile(BaseModel):
    dataset: str
    file_name: str
    path: str


class HistoryResult(BaseModel):
    image_sha256: str
    files: list[ImageFile]
    revisions: list[Revision]


def history(catalog: Catalog, image: str) -> HistoryResult:
    """Return the history of an image, named by the start of its sha256 (6 digits or more), its file name or its path.

    Raises NotFound, or BadOption listing candidates if several images match.
    """
    rows = catalog.find_images(image)
    if not rows.height:
        rows = catalog.find_images(str(Path(image).absolute()))
    images = rows["image_sha256"].unique(maintain_order=True).to_list()
    if not images:
        raise NotFound(f"No image {image!r}: name one by 6 or more digits of its sha256, its file name or its path.")
    if len(images) > 1:
        raise BadOption(f"{image}: {len(images)} images match; name one of {_candidates(rows.rows(named=True))}.")
    files = [ImageFile.model_validate(row) for row in rows.rows(named=True)]
    return HistoryResult(image_sha256=images[0], files=files, revisions=revisions(catalog, images[0]))


def revisions(catalog: Catalog, image_sha256: str) -> list[Revision]:
    rows = catalog.image_history(image_sha256).rows(named=True)
    last = {(row["dataset"], row["set_name"]): row["caption_id"] for row in rows}
    return [
        Revision.model_validate(
            row
            | {
                "options": json.loads(row["options"]),
                "versions": row["versions"] or [],
                "sources": [_source(rows, row["dataset"], source) for source in row["sources"] or []],
                "current": last[row["dataset"], row["set_name"]] == row["caption_id"],
            }
        )
        for row in rows
    ]


def _source(rows: list[dict[str, Any]], dataset: str, source: dict[str, Any]) -> Source:
    """Find the image's caption in a set up to a caption id. `rows`: all its revisions, each set's oldest first."""
    in_set = [row for row in rows if (row["dataset"], row["set_name"]) == (dataset, source["set_name"])]
    earlier = [row for row in in_set if row["caption_id"] <= source["last_caption_id"]]
    caption = earlier[-1] if earlier else {"caption_id": None, "text": None}
    return Source.model_validate({**caption, "set_name": source["set_name"], "number": source["number"]})


def _candidates(rows: list[dict[str, Any]]) -> str:
    images = [f"{row['image_sha256'][:12]} ({row['dataset']}: {row['file_name']})" for row in rows]
    return ", ".join(images[:CANDIDATES]) + (" ..." if len(images) > CANDIDATES else "")
