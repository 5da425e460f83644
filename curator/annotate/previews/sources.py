"""Previews and their signatures, made here or by the service whose disk has the images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from curator.annotate.previews.make import has_preview, make_previews, preview_folder
from curator.annotate.previews.serve import key_id, preview_url, signature_of
from curator.images.originals import Originals
from curator.secret_files import load_key
from schemas.progress import Progress, silent

if TYPE_CHECKING:
    from curator.catalog import Catalog
    from curator.catalog.remote_disk import RemoteDisk

ASKED_AT_ONCE = 10_000
MADE_AT_ONCE = 64
SIGNED_AT_ONCE = 2_000


class Previews(Protocol):
    """The previews of a catalog's images."""

    key_id: str
    """Names the key that addresses are signed with."""

    def lacking(self, images: Sequence[str]) -> list[str]:
        """Return the images of these that have no preview."""

    def make(self, images: Sequence[str], progress: Progress = silent) -> list[str]:
        """Make the missing ones. Return a reason for each that can't be made."""

    def sign(self, images: Iterable[str], expires_at: datetime) -> None:
        """Prepare signatures of many images in one go, so that `signature` makes no request of its own."""

    def signature(self, image: str, expires_at: datetime) -> str:
        """Return the signature that makes an image's URL valid until `expires_at`."""


def previews(catalog: Catalog, paths: Mapping[str, str]) -> Previews:
    """Return the previews of a catalog's images. `paths`: the images' paths on record."""
    if catalog.remote_disk:
        return PreviewsThere(catalog.remote_disk)
    originals = Originals(catalog)
    return PreviewsHere(catalog, {image: Path(originals.paths(image, [path])[0]) for image, path in paths.items()})


def address(found: Previews, base_url: str, image: str, expires_at: datetime) -> str:
    """Return the signed URL of a preview."""
    return preview_url(base_url, image, expires_at, found.signature(image, expires_at))


class PreviewsHere:
    """Previews in a folder beside the catalog."""

    def __init__(self, catalog: Catalog, paths: Mapping[str, Path]) -> None:
        self._folder, self._paths = preview_folder(catalog.path), paths
        self._key = load_key(self._folder)
        self.key_id = key_id(self._key)

    def lacking(self, images: Sequence[str]) -> list[str]:
        """Return the images of these that have no preview."""
        return [image for image in images if not has_preview(self._folder, image)]

    def make(self, images: Sequence[str], progress: Progress = silent) -> list[str]:
        """Make the missing ones. Return a reason for each that can't be made."""
        wanted = [(self._paths[image], image) for image in images]
        return [str(error) for error in make_previews(wanted, self._folder, progress=progress)]

    def sign(self, images: Iterable[str], expires_at: datetime) -> None:
        """Do nothing: the key is here."""

    def signature(self, image: str, expires_at: datetime) -> str:
        """Return the signature that makes an image's URL valid until `expires_at`."""
        return signature_of(image, int(expires_at.timestamp()), self._key)


class PreviewsThere:
    """Previews at the service, which has the images and the key."""

    def __init__(self, remote_disk: RemoteDisk) -> None:
        self._remote_disk = remote_disk
        self._signatures: dict[tuple[str, int], str] = {}
        self.key_id = remote_disk.previews_key()

    def lacking(self, images: Sequence[str]) -> list[str]:
        """Return the images of these that have no preview."""
        parts = (images[first : first + ASKED_AT_ONCE] for first in range(0, len(images), ASKED_AT_ONCE))
        return [image for part in parts for image in self._remote_disk.previews(part, make=False)["lacking"]]

    def make(self, images: Sequence[str], progress: Progress = silent) -> list[str]:
        """Make the missing ones. Return a reason for each that can't be made."""
        failed: list[str] = []
        for first in range(0, len(images), MADE_AT_ONCE):
            part = images[first : first + MADE_AT_ONCE]
            failed += self._remote_disk.previews(part, make=True)["failed"]
            done = first + len(part)
            progress("making previews", done, len(images), f"{len(failed)} failed" if failed else "")
        return failed

    def sign(self, images: Iterable[str], expires_at: datetime) -> None:
        """Prepare signatures of many images in one go, so that `signature` makes no request of its own."""
        expires = int(expires_at.timestamp())
        wanted = [(image, expires) for image in dict.fromkeys(images) if (image, expires) not in self._signatures]
        for first in range(0, len(wanted), SIGNED_AT_ONCE):
            part = wanted[first : first + SIGNED_AT_ONCE]
            self._signatures |= dict(zip(part, self._remote_disk.signatures(part), strict=True))

    def signature(self, image: str, expires_at: datetime) -> str:
        """Return the signature that makes an image's URL valid until `expires_at`."""
        self.sign([image], expires_at)
        return self._signatures[image, int(expires_at.timestamp())]
