"""The original file of an image, wherever the catalog is: the one way in which stages open images.

    originals = Originals(catalog)
    path = originals.file(sha256, recorded)     # recorded: the image's paths, as the catalog has them

On the catalog's own machine that is the recorded path or an upload. For a catalog by URL, the file is fetched from the
service, compared with its SHA-256 and cached. Safe on many threads.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import polars as pl

from curator.cache import cache_folder
from curator.catalog import Catalog
from curator.images.locations import split, uploaded, uploads_folder
from schemas.digest import sha256_file
from schemas.errors import ChecksumMismatch, NotFound


class Originals:
    """The local files of a catalog's images."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog, self._remote_disk = catalog, catalog.remote_disk
        self._cache = cache_folder() / "originals"

    @cached_property
    def _uploads(self) -> Path:
        return uploads_folder(self._catalog.path)

    def paths(self, sha256: str, recorded: Sequence[str]) -> list[str]:
        """Return the image's possible local paths, unchecked; for a remote catalog, its cache path."""
        if self._remote_disk:
            return [str(uploaded(self._cache, sha256))]
        return list(dict.fromkeys(str(uploaded(self._uploads, sha256)) if split(path) else path for path in recorded))

    def paths_of(self, images: pl.DataFrame) -> pl.Series:
        """Return `paths` of many images, by their `image_sha256`."""
        folder = self._cache if self._remote_disk else self._uploads
        sha256, path = pl.col("image_sha256"), pl.col("path")
        by_content = pl.concat_str(pl.lit(f"{folder}/"), sha256.str.slice(0, 2), pl.lit("/"), sha256)
        here = path.str.starts_with("/") if self._remote_disk is None else pl.lit(False)
        return images.select(pl.when(here).then(path).otherwise(by_content).alias("image_path")).to_series()

    def fetch(self, sha256: str) -> None:
        """Download a remote catalog's image; else do nothing. Raises NotFound, ChecksumMismatch."""
        if self._remote_disk is None:
            return
        target = uploaded(self._cache, sha256)
        if target.is_file() and sha256_file(target) == sha256:
            return
        content = self._remote_disk.picture(sha256)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ChecksumMismatch(f"{sha256[:12]}: the service sent another image. Try again.")
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = target.with_name(f".{sha256}.{secrets.token_hex(4)}")
        try:
            # Not flushed to the disk: what a power cut leaves is found out by its checksum.
            temporary.write_bytes(content)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def file(self, sha256: str, recorded: Sequence[str]) -> Path | None:
        """Return the image's first existing file, or None."""
        try:
            self.fetch(sha256)
        except (NotFound, ChecksumMismatch):
            return None
        return next((Path(path) for path in self.paths(sha256, recorded) if Path(path).is_file()), None)
