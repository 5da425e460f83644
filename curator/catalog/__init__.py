"""The catalog: the only code that uses SQL and DuckDB. All other code calls the `Catalog` class.

One method a named query (queries/*.sql), each one transaction; arguments and results are plain values, lists, models
or polars frames, never cursors, so that one day the same class can speak to a service that holds the file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from curator.catalog.access import Access
from curator.catalog.annotations import Annotations
from curator.catalog.captions import Captions
from curator.catalog.checks import Checks
from curator.catalog.connection import connect
from curator.catalog.errors import CatalogLocked, NotACatalog
from curator.catalog.gallery import Gallery
from curator.catalog.images import Images
from curator.catalog.lineage import Lineage
from curator.catalog.preferences import Preferences
from curator.catalog.splits import Splits
from curator.catalog.versions import Versions
from schemas.errors import AlreadyExists, AmatlError

__all__ = ["Catalog", "CatalogLocked", "NotACatalog"]


class Catalog(Images, Captions, Versions, Splits, Annotations, Preferences, Checks, Access, Gallery, Lineage):
    """An open catalog. `with Catalog(path) as catalog: ...`; `Catalog.create(path)` makes a new one."""

    @classmethod
    def create(cls, path: Path | str) -> Self:
        """Create an empty catalog at `path`, atomically, and open it.

        Raises AlreadyExists where there is a file, AmatlError where there is no folder to put it in.
        """
        from curator.catalog.migrate import migrate

        path = Path(path)
        if path.exists():
            raise AlreadyExists(f"{path}: exists already and isn't overwritten. Choose another name.")
        if not path.parent.is_dir():
            raise AmatlError(f"{path.parent}: there is no such folder. Make it first.")
        if not os.access(path.parent, os.W_OK):
            raise AmatlError(f"{path.parent}: you have no right to write there. Choose another folder.")
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            connection = connect(temporary)
            try:
                migrate(connection, path, new=True)
                connection.execute("CHECKPOINT")
            finally:
                connection.close()
            _put(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        return cls(path)


def _put(temporary: Path, path: Path) -> None:
    """Rename the finished file to `path`; never overwrite a file that appeared meanwhile."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError as error:
        raise AlreadyExists(f"{path}: exists already and isn't overwritten. Choose another name.") from error
    except OSError:  # a file system without hard links
        temporary.rename(path)
