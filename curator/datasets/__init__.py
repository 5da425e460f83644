"""List the datasets with their rejects, near-duplicates and missing captions."""

from __future__ import annotations

from pydantic import BaseModel, Field

from curator.caption_sets.reference import check_dataset
from curator.caption_sets.versions import captions_now
from curator.catalog import Catalog
from curator.catalog.working_copy import CAPTION, working_copy
from curator.datasets.rejected import rejects


class SetHealth(BaseModel):
    """A caption set over the current images, of which there are `captions` - `without_image` + `missing`."""

    set_name: str
    captions: int = Field(description="As a commit would have them: also of images that are gone.")
    without_image: int = Field(description="Captions of images that the dataset has no file of any more.")
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
    return DatasetsResult(datasets=[dataset_health(catalog, name) for name in catalog.dataset_names()])


def dataset_health(catalog: Catalog, dataset: str) -> DatasetHealth:
    """Return one dataset. Raises NotFound with the names of all."""
    check_dataset(catalog, dataset)
    table = working_copy(catalog, dataset)
    frame, rejected = table.frame, rejects(catalog, dataset)
    lacking = {name: frame[f"{CAPTION}{name}"].null_count() for name in table.sets}
    in_groups = frame["near_duplicate_of"].filter(~frame["alone"])
    images, captions = frame.height, captions_now(catalog, dataset)
    return DatasetHealth(
        dataset=dataset,
        images=images,
        paths=int(frame["paths"].sum()),
        near_duplicate_groups=in_groups.n_unique(),
        near_duplicate_images=in_groups.len(),
        rejects=rejected.rejects,
        rejects_by_reason=rejected.by_reason,
        without_split=frame["split"].null_count(),
        sets=[_set_health(name, images, missing, captions[name]) for name, missing in lacking.items()],
    )


def _set_health(set_name: str, images: int, missing: int, captions: int) -> SetHealth:
    here = images - missing
    captions = max(here, captions)  # some may have been taken out between the two looks
    return SetHealth(set_name=set_name, captions=captions, without_image=captions - here, missing=missing)
