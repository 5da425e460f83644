"""Changes to the catalog that came from another machine name that machine's paths, never this one's.

A row with a path of this machine would have the service, and its jobs, read that file later. Nor is a picture noted
whose bytes never came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from curator.images.locations import split, uploaded
from curator.server.problems import Refused
from schemas.errors import BadDocument

# Where a query's paths are: parameters, and columns of its tables.
PARAMETERS = {"add_files": ("root",), "finish_ingest": ("root",), "add_snapshot": ("folder",)}
COLUMNS = {"add_files": (("new_files", "path"), ("new_rejects", "path")), "finish_ingest": (("rows", "path"),)}


class NotUploaded(Refused):
    """Pictures are named whose bytes never came. The same ingest sends them."""

    status = 409


def check(query: str, parameters: Mapping[str, Any], frames: Mapping[str, pl.DataFrame], uploads: Path) -> None:
    """Raises Refused for a path of this machine, NotUploaded, BadDocument for a table that lacks the column."""
    _check_paths(str(parameters.get(name)) for name in PARAMETERS.get(query, ()))
    for table, column in COLUMNS.get(query, ()):
        _check_paths(_texts(frames, table, column))
    if query == "add_files":
        _check_bytes(frames["new_files"], uploads)


def _check_paths(paths: Iterable[str]) -> None:
    for path in paths:
        if split(path) is None:
            raise Refused(f"{path[:200]}: not a path of another machine. Ingest it there, or as a job.")


def _texts(frames: Mapping[str, pl.DataFrame], table: str, column: str) -> list[str]:
    if table not in frames or column not in frames[table].columns:
        raise BadDocument(f"{table}: there is no column {column}.")
    return [str(text) for text in frames[table][column].to_list()]


def _check_bytes(files: pl.DataFrame, uploads: Path) -> None:
    if not {"image_sha256", "gone"} <= set(files.columns):
        raise BadDocument("new_files: there are no columns image_sha256 and gone.")
    named = {str(image) for image, gone in files.select("image_sha256", "gone").iter_rows() if gone is not True}
    try:
        lacking = [image for image in named if not uploaded(uploads, image).is_file()]
    except ValueError as error:
        raise BadDocument("new_files: image_sha256 has what is no SHA-256.") from error
    if lacking:
        raise NotUploaded(f"The bytes of {len(lacking):,} pictures never came. The same ingest sends them.")
