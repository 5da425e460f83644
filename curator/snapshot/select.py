"""Choose images and splits, and count what is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from curator import where
from curator.catalog import Catalog
from curator.snapshot.split import Assignment, Group, Rule, assign
from curator.snapshot.tracks import TrackSource
from schemas.errors import AmatlError

EXTENSIONS = {"jpeg": "jpg"}  # format -> extension, if they differ

LEFT_OUT = {
    "file-gone": "without a file",
    "rejected": "rejected by a person",
    "where": "left out by --where",
    "missing-caption": "without every caption",
}


class NothingToExport(AmatlError):
    """No image is left for the snapshot."""


@dataclass(frozen=True)
class Holdout:
    """The options as given; at most one of the first three."""

    count: int | None = None
    fraction: float | None = None
    expression: str | None = None
    also_trained: bool = False

    @property
    def text(self) -> str | None:
        """The rule for the manifest."""
        given = [self.count, self.fraction, self.expression]
        text = next((str(option) for option in given if option is not None), None)
        return f"{text}, trained images too" if text and self.also_trained else text


@dataclass(frozen=True)
class Samples:
    """`table`: a row per image, sorted by sha256, with split, file_name (in the snapshot), source_file_name,
    size_bytes, width_px and height_px (upright), format, has_alpha, exif_orientation, license, source_url, metadata,
    near_duplicate_of, and `caption.<track>` per track. `left_out`: images by reason. `without`: images without a
    caption, by track.
    """

    table: pl.DataFrame
    assignment: Assignment
    left_out: dict[str, int]
    without: dict[str, int]


def select(
    catalog: Catalog,
    dataset: str,
    tracks: Sequence[TrackSource],
    condition: str | None,
    holdout: Holdout,
    keep_missing: bool,
    keep_rejected: bool = False,
) -> Samples:
    """Choose the images and split their near-duplicate groups; store nothing.

    Leaves out rejected images unless `keep_rejected`. Raises BadExpression, CannotHoldOut, NothingToExport.
    """
    chosen = where.parse(condition) if condition is not None else None
    held_out = where.parse(holdout.expression, "--holdout-where") if holdout.expression is not None else None
    Rule(holdout.count, holdout.fraction)  # raises for invalid numbers before the slow part
    images = catalog.images_of_dataset(dataset)
    stored = catalog.stored_splits(dataset)
    table = where.listed_columns(images, stored, {track.name: track.captions for track in tracks})
    table = table.with_columns(images["exif_orientation"])
    captioned = {sha256 for track in tracks for sha256 in track.captions["image_sha256"]}
    left_out = Counter({"file-gone": len(captioned - set(images["image_sha256"]))})
    if not keep_rejected:
        left_out["rejected"] = len(table)
        table = table.filter(~pl.col("sha256").is_in(catalog.rejected_images(dataset)))
        left_out["rejected"] -= len(table)
    if chosen:
        left_out["where"] = len(table)
        table = table.filter(where.matches(chosen, table))
        left_out["where"] -= len(table)
    without = {track.name: table[f"caption.{track.name}"].null_count() for track in tracks}
    if not keep_missing:
        left_out["missing-caption"] = len(table)
        table = table.drop_nulls([f"caption.{track.name}" for track in tracks])
        left_out["missing-caption"] -= len(table)
    left_out = +left_out  # without zero counts
    if table.is_empty():
        raise NothingToExport(_nothing(dataset, left_out, without, keep_missing))

    matches = table.filter(where.matches(held_out, table))["near_duplicate_of"] if held_out else None
    rule = Rule(
        holdout.count,
        holdout.fraction,
        None if matches is None else frozenset(matches),
        also_trained=holdout.also_trained,
    )
    assignment = assign(_groups(table), rule)
    table = table.with_columns(
        pl.col("near_duplicate_of").replace_strict(assignment.splits, return_dtype=pl.String).alias("split"),
        pl.col("file_name").alias("source_file_name"),
        pl.format("{}.{}", pl.col("sha256").str.head(16), pl.col("format").replace(EXTENSIONS)).alias("file_name"),
    )
    return Samples(table.sort("sha256"), assignment, dict(left_out), without)


def _groups(table: pl.DataFrame) -> list[Group]:
    counted = table.group_by("near_duplicate_of").agg(pl.len(), pl.col("split").first())
    return [Group(representative, images, split) for representative, images, split in counted.iter_rows()]


def _nothing(dataset: str, left_out: dict[str, int], without: dict[str, int], keep_missing: bool) -> str:
    reasons = ", ".join(f"{images} {LEFT_OUT[reason]}" for reason, images in left_out.items()) or "it has no images"
    bare = [name for name, images in without.items() if images]
    advice = f" Without a caption: {', '.join(f'{without[name]} in {name}' for name in bare)}." if bare else ""
    hint = " To include rejected images, add --keep-rejected." if "rejected" in left_out else ""
    hint += " Caption them, or add --keep-missing." if "missing-caption" in left_out and not keep_missing else ""
    return f"{dataset}: no image is left for the snapshot ({reasons}).{advice}{hint}"
