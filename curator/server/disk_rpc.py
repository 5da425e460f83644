"""Disk requests of remote commands (`curator.catalog.remote_disk`).

They contain no path: the catalog knows the files.
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
from curator.server.access import OpenCatalog, needs

router = APIRouter(include_in_schema=False)
Image = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
MAX_PREVIEWS = 64
MAX_SIGNATURES = 2_000


class PreviewRequest(BaseModel):
    """`make`: create missing previews."""

    images: list[Image] = Field(max_length=10_000)
    make: bool = False


class Address(BaseModel):
    """`expires`: seconds since 1970."""

    image: Image
    expires: int = Field(ge=0, lt=10**12)


class SignatureRequest(BaseModel):
    addresses: list[Address] = Field(max_length=MAX_SIGNATURES)


@router.get("/disk/files", dependencies=[Depends(needs("read"))])
def files(catalog: OpenCatalog, dataset: str) -> dict[str, object]:
    """Return the state of a dataset's files since the ingest."""
    check_dataset(catalog, dataset)
    return asdict(files_state(catalog, dataset))


@router.get("/disk/previews", dependencies=[Depends(needs("read"))])
def key(catalog: OpenCatalog) -> dict[str, str]:
    """Return the id of the signing key."""
    return {"key_id": key_id(load_key(preview_folder(catalog.path)))}


@router.post("/disk/previews", dependencies=[Depends(needs("write"))])
def previews(catalog: OpenCatalog, wanted: PreviewRequest) -> dict[str, object]:
    """Return the missing previews; `make` first creates as many as one request may."""
    store = _previews(catalog, wanted.images)
    failed = store.make(wanted.images[:MAX_PREVIEWS]) if wanted.make else []
    return {"lacking": store.lacking(wanted.images), "failed": failed}


@router.post("/disk/signatures", dependencies=[Depends(needs("write"))])
def signatures(catalog: OpenCatalog, wanted: SignatureRequest) -> dict[str, list[str]]:
    """Sign addresses, which then need no login."""
    store = _previews(catalog, [])
    addresses = [(one.image, datetime.fromtimestamp(one.expires, UTC)) for one in wanted.addresses]
    return {"signatures": [store.signature(image, expires) for image, expires in addresses]}


def _previews(catalog: Catalog, images: list[str]) -> PreviewsHere:
    originals, paths = Originals(catalog), {}
    for image in images:
        rows = catalog.find_images(image)
        recorded = rows.filter(rows["image_sha256"] == image)["path"].to_list()
        # A missing file keeps its recorded path, so that making its preview fails with that name.
        paths[image] = originals.file(image, recorded) or Path(recorded[0] if recorded else f"image {image[:12]}")
    return PreviewsHere(catalog, paths)
