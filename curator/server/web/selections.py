"""Store chosen images by content, so that a selection has an address. Only the newest are kept."""

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

MAX_IMAGES = 100_000
MAX_SELECTIONS = 50
DIGITS = 24
NAME = re.compile(f"[0-9a-f]{{{DIGITS}}}")
IMAGE = re.compile(r"[0-9a-f]{64}")


class Selections:
    def __init__(self, data: Path) -> None:
        """`data`: the service's data folder."""
        self.folder = data / "selections"

    def store(self, dataset: str, images: Iterable[str]) -> str:
        """Return the selection's name. Raise BadOption."""
        chosen = list(dict.fromkeys(images))
        if not chosen:
            raise BadOption("No image is chosen. Choose some in the gallery.")
        if len(chosen) > MAX_IMAGES:
            raise BadOption(
                f"{len(chosen):,} images are chosen; at most {MAX_IMAGES:,} are allowed. Add a filter in the gallery."
            )
        if not all(IMAGE.fullmatch(one) for one in chosen):
            raise BadOption("The selection contains something that isn't an image. Load the gallery again.")
        content = "\n".join([dataset, *chosen]).encode()
        name = sha256(content).hexdigest()[:DIGITS]
        self.folder.mkdir(mode=0o700, exist_ok=True)
        write_atomically(self.folder / name, content)
        self._delete_old()
        return name

    def read(self, dataset: str, name: str) -> list[str]:
        """Raise NotFound."""
        file = self.folder / name
        if not NAME.fullmatch(name) or not file.is_file():
            raise NotFound("This selection was deleted. Choose the images in the gallery again.")
        stored_dataset, *images = file.read_text("utf-8").split("\n")
        if stored_dataset != dataset:
            raise NotFound(f"This selection is of {stored_dataset}, not of {dataset}.")
        return images

    def _delete_old(self) -> None:
        modified_at = {}
        for file in self.folder.glob("[0-9a-f]*"):
            with suppress(FileNotFoundError):  # another request deleted it meanwhile
                modified_at[file] = file.stat().st_mtime_ns
        for file in sorted(modified_at, key=lambda file: modified_at[file], reverse=True)[MAX_SELECTIONS:]:
            file.unlink(missing_ok=True)


def selections_of(request: Request) -> Selections:
    return Selections(request.app.state.settings.data)


def names_of(catalog: Catalog, dataset: str, images: list[str]) -> dict[str, str]:
    """Return a file name per image that is in the dataset, in order."""
    names = dict(catalog.names_of_images(dataset, pl.DataFrame({"image_sha256": images})).iter_rows())
    return {image: names[image] for image in images if image in names}
