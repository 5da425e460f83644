"""Filtered pages of images, one image, its history."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from curator.caption_sets.history import HistoryResult, history
from curator.datasets.image import ImageResult, image
from curator.gallery import LARGEST_LIMIT, LIMIT, GalleryFilters, GalleryResult, gallery, gallery_frame
from curator.server.access import OpenCatalog, Sha256, needs
from curator.server.api import examples
from curator.server.api.responses import LARGEST_ID, STREAMS, accepted_type, etag_response, example, stream
from curator.server.signing import expiry, signed

router = APIRouter(prefix="/datasets/{dataset}/images", tags=["images"], dependencies=[Depends(needs("read"))])


class Page(GalleryFilters):
    """Filters, and the position."""

    metadata: tuple[str, ...] = Field(
        default=(), max_length=20, description=str(GalleryFilters.model_fields["metadata"].description)
    )
    after: int | None = Field(default=None, ge=0, le=LARGEST_ID, description="`after` of the previous page.")
    before: int | None = Field(default=None, ge=0, le=LARGEST_ID, description="`before` of the next page.")
    limit: int = Field(default=LIMIT, ge=1, le=LARGEST_LIMIT, description="Images per page.")

    @property
    def filters(self) -> GalleryFilters:
        return GalleryFilters(**{name: getattr(self, name) for name in GalleryFilters.model_fields})


class ImageAddresses(BaseModel):
    """Addresses that work without a token."""

    original: str = Field(description="The unchanged file.")
    thumbnail: str = Field(description="A JPEG with a longer side of at most 384 px.")
    expires_at: datetime = Field(description="Expiry: after a day, or up to an hour later.")


@router.get(
    "",
    operation_id="listImages",
    response_model=GalleryResult,
    responses={**STREAMS, **example(examples.PAGE)},
)
def list_images(request: Request, catalog: OpenCatalog, dataset: str, page: Annotated[Page, Query()]) -> Response:
    """A page of images with captions, in the order first seen. As Arrow or JSON lines: all images."""
    media_type = accepted_type(request, "application/json")
    if media_type != "application/json":
        return stream(gallery_frame(catalog, dataset, page.filters), media_type, dataset)
    return etag_response(request, gallery(catalog, dataset, page.filters, page.after, page.before, page.limit))


@router.get("/{sha256}", operation_id="getImage", response_model=ImageResult, responses=example(examples.IMAGE))
def get_image(request: Request, catalog: OpenCatalog, dataset: str, sha256: Sha256) -> Response:
    """Facts, metadata, near-duplicates, and the caption with its provenance in every set."""
    return etag_response(request, image(catalog, dataset, sha256))


@router.get(
    "/{sha256}/addresses", operation_id="getImageAddresses", response_model=ImageAddresses,
    responses=example(examples.ADDRESSES),
)  # fmt: skip
def get_addresses(request: Request, catalog: OpenCatalog, dataset: str, sha256: Sha256) -> ImageAddresses:
    """Addresses for a notebook or a page of another origin, valid without a token."""
    image(catalog, dataset, sha256)
    key = request.app.state.key
    original, thumbnail = (signed(path, key) for path in (f"/images/{sha256}", f"/thumbnails/{sha256}.jpg"))
    expires_at = datetime.fromtimestamp(expiry(), UTC)
    return ImageAddresses(original=original, thumbnail=thumbnail, expires_at=expires_at)


@router.get("/{sha256}/history", operation_id="getHistory", response_model=HistoryResult)
def get_history(request: Request, catalog: OpenCatalog, dataset: str, sha256: Sha256) -> Response:
    """Every caption the image ever had, oldest first."""
    image(catalog, dataset, sha256)
    return etag_response(request, history(catalog, sha256))
