"""Lists the datasets with their health: rejects, near-duplicates, captions that are missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from curator.gallery.table import CAPTION, working_copy
from curator.reference import check_dataset
from curator.rejects import rejects

if TYPE_CHECKING:
    from curator.catalog import Catalog


class SetHealth(BaseModel):
    """A caption set over the images that are there now."""

    set_name: str
    captions: int
    missing: int = Field(description="Images without a caption in it.")


class DatasetHealth(BaseModel):
    """A dataset."""

    dataset: str
    images: int
    paths: int
    near_duplicate_groups: int = Field(description="Groups of several images.")
    near_duplicate_images: int = Field(description="Images in those.")
    rejects: int
    rejects_by_reason: dict[str, int]
    without_split: int = Field(description="Images that no snapshot has placed in train or validation yet.")
    sets: list[SetHealth]


class DatasetsResult(BaseModel):
    """Every dataset, by name."""

    datasets: list[DatasetHealth]


def datasets(catalog: Catalog) -> DatasetsResult:
    """Every dataset with its health."""
    return DatasetsResult(datasets=[dataset_health(catalog, name) for name in catalog.dataset_names()])


def dataset_health(catalog: Catalog, dataset: str) -> DatasetHealth:
    """One dataset. Raises NotFound listing those there are."""
    check_dataset(catalog, dataset)
    table = working_copy(catalog, dataset)
    frame, rejected = table.frame, rejects(catalog, dataset)
    missing = {name: frame[f"{CAPTION}{name}"].null_count() for name in table.sets}
    in_groups = frame["near_duplicate_of"].filter(~frame["alone"])
    images = frame.height
    return DatasetHealth(
        dataset=dataset,
        images=images,
        paths=int(frame["paths"].sum()),
        near_duplicate_groups=in_groups.n_unique(),
        near_duplicate_images=in_groups.len(),
        rejects=rejected.rejects,
        rejects_by_reason=rejected.by_reason,
        without_split=frame["split"].null_count(),
        sets=[
            SetHealth(set_name=name, captions=images - lacking, missing=lacking) for name, lacking in missing.items()
        ],
    )
