"""Images that somebody chose in a gallery, kept by content in the service's data folder.

So a selection has an address: its pages can be loaded again, gone back to, and passed on. The last ones are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import polars as pl
from fastapi import Request

from curator.catalog import Catalog
from schemas.document import write_atomically
from schemas.errors import BadOption, NotFound

MOST = 100_000
KEPT = 50
DIGITS = 24
NAME = re.compile(f"[0-9a-f]{{{DIGITS}}}")
IMAGE = re.compile(r"[0-9a-f]{64}")


class Selections:
    """The selections of a service."""

    def __init__(self, data: Path) -> None:
        """`data`: the service's data folder."""
        self.folder = data / "selections"

    def keep(self, dataset: str, images: Iterable[str]) -> str:
        """Keeps these images of a dataset, in their order; returns the selection's name. Raises BadOption."""
        chosen = list(dict.fromkeys(images))
        if not chosen:
            raise BadOption("No image is chosen. Choose some in the gallery.")
        if len(chosen) > MOST:
            raise BadOption(f"{len(chosen):,} images are chosen; {MOST:,} are the most. Filter the gallery further.")
        if not all(IMAGE.fullmatch(one) for one in chosen):
            raise BadOption("What is chosen isn't an image: load the gallery again.")
        content = "\n".join([dataset, *chosen]).encode()
        name = sha256(content).hexdigest()[:DIGITS]
        self.folder.mkdir(mode=0o700, exist_ok=True)
        write_atomically(self.folder / name, content)
        self._forget()
        return name

    def read(self, dataset: str, name: str) -> list[str]:
        """The images. Raises NotFound where it isn't kept, or is of another dataset."""
        file = self.folder / name
        if not NAME.fullmatch(name) or not file.is_file():
            raise NotFound("That selection isn't kept any more. Choose its images in the gallery again.")
        owner, *images = file.read_text("utf-8").split("\n")
        if owner != dataset:
            raise NotFound(f"That selection is of {owner}, not of {dataset}.")
        return images

    def _forget(self) -> None:
        kept_at = {}
        for file in self.folder.glob("[0-9a-f]*"):
            with suppress(FileNotFoundError):  # another request forgot it meanwhile
                kept_at[file] = file.stat().st_mtime_ns
        for file in sorted(kept_at, key=lambda file: kept_at[file], reverse=True)[KEPT:]:
            file.unlink(missing_ok=True)


def kept(request: Request) -> Selections:
    return Selections(request.app.state.settings.data)


def names_of(catalog: Catalog, dataset: str, images: list[str]) -> dict[str, str]:
    """A file name of each of some images that is in the dataset, in their order."""
    found = dict(catalog.names_of_images(dataset, pl.DataFrame({"image_sha256": images})).iter_rows())
    return {image: found[image] for image in images if image in found}
