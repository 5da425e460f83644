"""Make an empty catalog."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from pydantic import BaseModel, Field

from curator.catalog import Catalog


class InitResult(BaseModel):
    """The catalog that is there now."""

    catalog: str
    created: bool = Field(description="False where it was a catalog already; it is left as it is.")
    datasets: list[str]


def init(path: Path) -> InitResult:
    """Make an empty catalog at `path`. An existing one is left as it is, so that scripts can run again.

    Raises NotACatalog if another file has the name, CatalogLocked, AmatlError without its folder.
    """
    from curator.catalog import NotACatalog

    if not path.exists():
        with Catalog.create(path) as catalog:
            return InitResult(catalog=catalog.name, created=True, datasets=catalog.dataset_names())
    if not path.is_file():
        raise NotACatalog(f"{path}: a folder, not a catalog. Give the name of a file.")
    with Catalog(path) as catalog:
        return InitResult(catalog=catalog.name, created=False, datasets=catalog.dataset_names())


def account(result: InitResult) -> str:
    if result.created:
        usual = os.environ.get("CURATOR_CATALOG") or "amatl.duckdb"
        where = "" if result.catalog == usual else f" --catalog {shlex.quote(result.catalog)}"
        return f"Made {result.catalog}, an empty catalog.\nNext: curator ingest FOLDER --dataset NAME{where}"
    holds = ", ".join(result.datasets) or "no datasets yet"
    return f"{result.catalog} is a catalog already ({holds}); nothing to do."
