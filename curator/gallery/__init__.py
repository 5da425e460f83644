"""Stage: a page of images with their captions, filtered, in the order they were first seen.

The filters run over a working copy in memory (catalog/working_copy.py), updated by each call. With 680,000 images and
3 sets on two cores, DuckDB needed 0.6 to 0.9 s per page and 130 to 220 ms to search all revisions, mostly to
decompress them. The working copy needs 60 ms for a text without matches, and milliseconds otherwise
(tests/bench/LOG.md).
"""

from __future__ import annotations

import polars as pl
from pydantic import BaseModel, Field

from curator.caption_sets.reference import check_dataset
from curator.catalog import Catalog
from curator.catalog.working_copy import CAPTION, CAPTION_ID, working_copy
from curator.gallery.filters import GalleryFilters
from curator.gallery.search import matching_rows
from schemas.errors import BadOption

__all__ = ["GalleryFilters", "GalleryImage", "GalleryResult", "gallery", "gallery_frame"]

LIMIT = 50
LARGEST_LIMIT = 500


class GalleryCaption(BaseModel):
    caption_id: int
    text: str


class GalleryImage(BaseModel):
    """Width and height are upright."""

    number: int = Field(description="Its number in the dataset, for `after` and `before`.")
    sha256: str
    file_name: str
    width_px: int
    height_px: int
    size_bytes: int
    format: str
    has_alpha: bool
    license: str | None
    source_url: str | None
    split: str | None
    near_duplicate_of: str = Field(
        description="Representative of its near-duplicate group; its own sha256 if it has no near-duplicates."
    )
    captions: dict[str, GalleryCaption] = Field(description="By set name; sets without a caption for it are left out.")


class GalleryResult(BaseModel):
    """`after` and `before` request the next and the previous page; null if there is none."""

    dataset: str
    sets: list[str] = Field(description="Every caption set of the dataset.")
    total: int = Field(description="Number of matching images.")
    position: int = Field(description="Number of matching images before this page.")
    images: list[GalleryImage]
    after: int | None
    before: int | None


def gallery(
    catalog: Catalog,
    dataset: str,
    filters: GalleryFilters | None = None,
    after: int | None = None,
    before: int | None = None,
    limit: int = LIMIT,
) -> GalleryResult:
    """Return matching images after (or the last before) a number: keyset pagination.

    New images shift nothing: none appears twice or is skipped. Raises NotFound, BadOption, BadExpression.
    """
    if not 1 <= limit <= LARGEST_LIMIT:
        raise BadOption(f"limit {limit}: give a number from 1 to {LARGEST_LIMIT}.")
    if after is not None and before is not None:
        raise BadOption("after, before: give one of the two.")
    check_dataset(catalog, dataset)
    table = working_copy(catalog, dataset)
    rows = matching_rows(catalog, table, filters or GalleryFilters())
    numbers = rows["number"]
    if before is not None:
        end = int(numbers.search_sorted(before, side="left"))
        start = max(0, end - limit)
    else:
        start = 0 if after is None else int(numbers.search_sorted(after, side="right"))
        end = min(len(numbers), start + limit)
    page = table.frame[rows["row"].slice(start, end - start)]
    images = _images(page, table.sets)
    return GalleryResult(
        dataset=dataset,
        sets=table.sets,
        total=len(numbers),
        position=start,
        images=images,
        after=images[-1].number if images and end < len(numbers) else None,
        before=images[0].number if images and start else None,
    )


def gallery_frame(catalog: Catalog, dataset: str, filters: GalleryFilters | None = None) -> pl.DataFrame:
    """Return all matches: an image's columns, and `caption.SET` per set."""
    check_dataset(catalog, dataset)
    table = working_copy(catalog, dataset)
    rows = matching_rows(catalog, table, filters or GalleryFilters())
    captions = [pl.col(f"{CAPTION}{name}") for name in table.sets]
    return table.frame.select(*_image_columns(), *captions)[rows["row"]]


def _image_columns() -> list[str]:
    return [name for name in GalleryImage.model_fields if name != "captions"]


def _images(page: pl.DataFrame, sets: list[str]) -> list[GalleryImage]:
    columns = _image_columns()
    return [
        GalleryImage(
            **{name: row[name] for name in columns},
            captions={
                name: GalleryCaption(caption_id=row[f"{CAPTION_ID}{name}"], text=row[f"{CAPTION}{name}"])
                for name in sets
                if row[f"{CAPTION}{name}"] is not None
            },
        )
        for row in page.iter_rows(named=True)
    ]
