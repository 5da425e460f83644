"""Captions from text files beside the images: `fox.txt` (or `fox.png.txt`) for `fox.png`, as most trainers use.

    curator caption openmoji --strategy sidecar --set human --by ana

Files are UTF-8; their lines are joined. An empty file is an empty caption; an image without a file gets none.
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
ORIGINAL_PATHS = True


class Options(StrategyOptions):
    extension: str = Field(default=".txt", pattern=r"^\.[^/\\]+$", description="Extension of the text files.")


def fields(options: Options, available: list[str]) -> list[str]:
    return []


def read(images: pl.DataFrame, options: Options) -> Reading:
    """Read the files into the columns `sidecar` (text) and `sidecar_problem` (error)."""
    import polars as pl

    rows = [_read(Path(path), options.extension) for path in images["image_path"]]
    schema = {"sidecar": pl.String, "sidecar_problem": pl.String}
    return Reading(pl.DataFrame(rows, schema=schema, orient="row"))


def caption(batch: pl.DataFrame, options: Options) -> pl.DataFrame:
    import polars as pl

    problem = batch["sidecar_problem"]
    reason = problem.fill_null(f"no {options.extension} file beside the image")
    return captions(batch["sidecar"].cast(pl.String), reason=reason, failed=problem.is_not_null())


def _read(image: Path, extension: str) -> tuple[str | None, str | None]:
    """Return (text, None), (None, error), or (None, None) if there is no file."""
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
