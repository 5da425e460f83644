"""Stage: a page of a dataset's images with their captions, filtered, in the order they were first seen.

The filters run over a working copy of the dataset in memory (catalog/working_copy.py), which each call brings up to
date by what the catalog has grown since. Measured at 680,000 images with 3 sets on two cores: DuckDB took 0.6 to 0.9 s
for a page of the views, and 130 to 220 ms to look through the text of all revisions, most of it to decompress them; the
working copy takes 60 ms for a text that no caption has, and milliseconds for the rest (tests/bench/LOG.md).
"""

from __future__ import annotations

import polars as pl
from pydantic import BaseModel, Field

from curator.caption_sets.reference import check_dataset
from curator.catalog import Catalog
from curator.catalog.working_copy import CAPTION, CAPTION_ID, working_copy
from curator.gallery.filters import GalleryFilters
from curator.gallery.search import found
from schemas.errors import BadOption

__all__ = ["GalleryFilters", "GalleryImage", "GalleryResult", "gallery", "gallery_frame"]

LIMIT = 50
LARGEST_LIMIT = 500


class GalleryCaption(BaseModel):
    """An image's caption in a set."""

    caption_id: int
    text: str


class GalleryImage(BaseModel):
    """An image as the gallery shows it. Width and height are upright."""

    number: int = Field(description="Its place in the dataset: what `after` and `before` take.")
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
    near_duplicate_of: str = Field(description="The representative of its near-duplicate group; itself where alone.")
    captions: dict[str, GalleryCaption] = Field(description="By set; sets without a caption of it are left out.")


class GalleryResult(BaseModel):
    """A page. `after` and `before` are what the next and the previous page are asked with, null where there is none."""

    dataset: str
    sets: list[str] = Field(description="Every caption set of the dataset.")
    total: int = Field(description="Images that the filters hold for.")
    position: int = Field(description="How many of those stand before this page.")
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
    """The images after (or the last before) a number, as far as `filters` hold; keyset pagination.

    Rows added meanwhile move nothing: no image comes twice, none that was there is passed over.
    Raises NotFound, BadOption, BadExpression.
    """
    if not 1 <= limit <= LARGEST_LIMIT:
        raise BadOption(f"limit {limit}: from 1 to {LARGEST_LIMIT}.")
    if after is not None and before is not None:
        raise BadOption("after, before: give one of them.")
    check_dataset(catalog, dataset)
    table = working_copy(catalog, dataset)
    rows = found(catalog, table, filters or GalleryFilters())
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
    """All that the filters hold for, as a table: the columns of an image, and `caption.SET` for each set."""
    check_dataset(catalog, dataset)
    table = working_copy(catalog, dataset)
    rows = found(catalog, table, filters or GalleryFilters())
    captions = [pl.col(f"{CAPTION}{name}") for name in table.sets]
    return table.frame.select(*_own_columns(), *captions)[rows["row"]]


def _own_columns() -> list[str]:
    return [name for name in GalleryImage.model_fields if name != "captions"]


def _images(page: pl.DataFrame, sets: list[str]) -> list[GalleryImage]:
    own = _own_columns()
    return [
        GalleryImage(
            **{name: row[name] for name in own},
            captions={
                name: GalleryCaption(caption_id=row[f"{CAPTION_ID}{name}"], text=row[f"{CAPTION}{name}"])
                for name in sets
                if row[f"{CAPTION}{name}"] is not None
            },
        )
        for row in page.iter_rows(named=True)
    ]
