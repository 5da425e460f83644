"""Captions that lie beside the images: `fox.txt` (or `fox.png.txt`) beside `fox.png`, as most trainers keep them.

    curator caption openmoji --strategy sidecar --set human --by ana

A file is UTF-8; its lines become one. An empty file is an empty caption; an image without a file gets none.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from curator.captioners import Reading, StrategyOptions, captions

if TYPE_CHECKING:
    import polars as pl

VERSION = 1
IMPORTS = True
BESIDE = True


class Options(StrategyOptions):
    """How the files are called."""

    extension: str = Field(default=".txt", pattern=r"^\.[^/\\]+$", description="Instead of the image's own extension.")


def fields(options: Options, available: list[str]) -> list[str]:
    """Nothing of the catalog; what the file says comes by `read`."""
    return []


def read(images: pl.DataFrame, options: Options) -> Reading:
    """The files' texts and what kept them from being read, as columns `sidecar` and `sidecar_problem`."""
    import polars as pl

    found = [_read(Path(path), options.extension) for path in images["image_path"]]
    schema = {"sidecar": pl.String, "sidecar_problem": pl.String}
    return Reading(pl.DataFrame(found, schema=schema, orient="row"))


def caption(batch: pl.DataFrame, options: Options) -> pl.DataFrame:
    """The text of each image's file."""
    import polars as pl

    problem = batch["sidecar_problem"]
    reason = problem.fill_null(f"no {options.extension} file beside the image")
    return captions(batch["sidecar"].cast(pl.String), reason=reason, failed=problem.is_not_null())


def _read(image: Path, extension: str) -> tuple[str | None, str | None]:
    """The text, or what is wrong with the file; neither where there is none."""
    for path in (image.with_suffix(extension), image.with_name(image.name + extension)):
        try:
            return path.read_text(encoding="utf-8-sig"), None
        except FileNotFoundError:
            continue
        except UnicodeDecodeError:
            return None, f"the {extension} file isn't UTF-8"
        except OSError as error:
            return None, f"the {extension} file can't be read ({error.strerror})"
    return None, None
