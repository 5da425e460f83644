"""What a command on another machine has the service look at, or make, since its disk is here: see `catalog.distant`.

Nothing of a request is a path: datasets and images are named, and where they lie is the catalog's word.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from curator.annotate.previews.make import preview_folder
from curator.annotate.previews.serve import key_id
from curator.annotate.previews.sources import PreviewsHere
from curator.caption_sets.reference import check_dataset
from curator.catalog import Catalog
from curator.datasets.file_state import files_state
from curator.images.originals import Originals
from curator.secret_files import load_key
from curator.server.access import Opened, needs

router = APIRouter(include_in_schema=False)
Image = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
MOST_PREVIEWS = 64
MOST_SIGNATURES = 2_000


class Wanted(BaseModel):
    """Previews that are to be there; to be made with `make`."""

    images: list[Image] = Field(max_length=10_000)
    make: bool = False


class Address(BaseModel):
    """A preview, and until when its address is good."""

    image: Image
    expires: int = Field(ge=0, lt=10**12)


class Addresses(BaseModel):
    """What is to be signed."""

    addresses: list[Address] = Field(max_length=MOST_SIGNATURES)


@router.get("/disk/files", dependencies=[Depends(needs("read"))])
def files(catalog: Opened, dataset: str) -> dict[str, object]:
    """What became of a dataset's files since the ingest."""
    check_dataset(catalog, dataset)
    return asdict(files_state(catalog, dataset))


@router.get("/disk/previews", dependencies=[Depends(needs("read"))])
def key(catalog: Opened) -> dict[str, str]:
    """The name of the key that addresses are signed with."""
    return {"key_id": key_id(load_key(preview_folder(catalog.path)))}


@router.post("/disk/previews", dependencies=[Depends(needs("write"))])
def previews(catalog: Opened, wanted: Wanted) -> dict[str, object]:
    """Which previews are lacking; made before, as asked, as many as one request may take."""
    made = _previews(catalog, wanted.images)
    failed = made.make(wanted.images[:MOST_PREVIEWS]) if wanted.make else []
    return {"lacking": made.lacking(wanted.images), "failed": failed}


@router.post("/disk/signatures", dependencies=[Depends(needs("write"))])
def signatures(catalog: Opened, wanted: Addresses) -> dict[str, list[str]]:
    """Signs addresses of previews, which then need no login."""
    signing = _previews(catalog, [])
    found = [(one.image, datetime.fromtimestamp(one.expires, UTC)) for one in wanted.addresses]
    return {"signatures": [signing.signature(image, expires) for image, expires in found]}


def _previews(catalog: Catalog, images: list[str]) -> PreviewsHere:
    """For images of the catalog, wherever their files are."""
    originals, paths = Originals(catalog), {}
    for image in images:
        rows = catalog.find_images(image)
        recorded = rows.filter(rows["image_sha256"] == image)["path"].to_list()
        # One that isn't there any more is made to fail by its name, as a command beside it would.
        paths[image] = originals.file(image, recorded) or Path(recorded[0] if recorded else f"image {image[:12]}")
    return PreviewsHere(catalog, paths)
