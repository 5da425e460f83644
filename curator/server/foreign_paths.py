"""Check that changes from another machine name none of this machine's paths, and only uploaded images.

Otherwise the service would later read a local file chosen by the client.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from curator.images.locations import split, uploaded
from curator.server.problems import Refused
from schemas.edge.words import plural
from schemas.errors import BadDocument

# The parameters and table columns with paths, by query.
PARAMETERS = {"add_files": ("root",), "finish_ingest": ("root",), "add_snapshot": ("folder",)}
COLUMNS = {"add_files": (("new_files", "path"), ("new_rejects", "path")), "finish_ingest": (("rows", "path"),)}


class NotUploaded(Refused):
    """The images were not uploaded. Run the same ingest again to send them."""

    status = 409


def check(query: str, parameters: Mapping[str, Any], frames: Mapping[str, pl.DataFrame], uploads: Path) -> None:
    """Raise Refused for a local path, NotUploaded, BadDocument for a missing column."""
    _check_paths(str(parameters.get(name)) for name in PARAMETERS.get(query, ()))
    for table, column in COLUMNS.get(query, ()):
        _check_paths(_texts(frames, table, column))
    if query == "add_files":
        _check_bytes(frames["new_files"], uploads)


def _check_paths(paths: Iterable[str]) -> None:
    for path in paths:
        if split(path) is None:
            raise Refused(f"{path[:200]}: not a path of another machine. Ingest it there, or start a job.")


def _texts(frames: Mapping[str, pl.DataFrame], table: str, column: str) -> list[str]:
    if table not in frames or column not in frames[table].columns:
        raise BadDocument(f"{table}: there is no column {column}.")
    return [str(text) for text in frames[table][column].to_list()]


def _check_bytes(files: pl.DataFrame, uploads: Path) -> None:
    if not {"image_sha256", "gone"} <= set(files.columns):
        raise BadDocument("new_files: there are no columns image_sha256 and gone.")
    images = {str(image) for image, gone in files.select("image_sha256", "gone").iter_rows() if gone is not True}
    try:
        missing = [image for image in images if not uploaded(uploads, image).is_file()]
    except ValueError as error:
        raise BadDocument("new_files: image_sha256 has a value that is not a SHA-256.") from error
    if missing:
        raise NotUploaded(f"{plural(len(missing), 'image')} not uploaded. Run the same ingest again to send them.")
