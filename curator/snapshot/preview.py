"""Preview a snapshot without writing or storing anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from curator.catalog import Catalog
from curator.snapshot.contents import contents_of, is_already_at
from curator.snapshot.result import PreviewImage, SnapshotPreview, facts_of
from curator.snapshot.select import Holdout, select
from curator.snapshot.tracks import tracks_of
from schemas.progress import Progress, silent

SHOWN = 48


def preview(
    catalog: Catalog,
    references: Sequence[str],
    out: Path | None = None,
    where: str | None = None,
    holdout: Holdout | None = None,
    keep_missing: bool = False,
    keep_rejected: bool = False,
    progress: Progress = silent,
) -> SnapshotPreview:
    """Return what `snapshot` would make, in any folder if `out` is None. Raises like `snapshot`."""
    progress("choosing images", 0, None)
    dataset, sources = tracks_of(catalog, references)
    samples = select(catalog, dataset, sources, where, holdout or Holdout(), keep_missing, keep_rejected)
    contents = contents_of(dataset, sources, samples)
    unchanged = out is not None and is_already_at(contents, out)
    table, new = samples.table, samples.assignment.new
    groups = _groups(table)
    return SnapshotPreview(
        **facts_of(contents),
        unchanged=unchanged,
        held_out_new=_placed(table, "validation", new),
        train_new=_placed(table, "train", new),
        groups=groups.height,
        group_images=int(groups["images"].sum()),
        groups_held_out=groups.filter(groups["split"] == "validation").height,
        images=_images(table, new),
    )


def _groups(table: pl.DataFrame) -> pl.DataFrame:
    """Return the groups of several images: columns images, split."""
    counted = table.group_by("near_duplicate_of").agg(pl.len().alias("images"), pl.col("split").first())
    return counted.filter(pl.col("images") > 1)


def _placed(table: pl.DataFrame, split: str, new: Mapping[str, str]) -> int:
    """Count the images of a split whose group is new in it."""
    return table.filter(table["split"] == split, table["near_duplicate_of"].is_in(list(new))).height


def _images(table: pl.DataFrame, new: Mapping[str, str]) -> list[PreviewImage]:
    held_out = table.filter(table["split"] == "validation").sort("near_duplicate_of", "source_file_name").head(SHOWN)
    return [
        PreviewImage(
            image_sha256=row["sha256"],
            file_name=row["source_file_name"],
            near_duplicate_of=row["near_duplicate_of"],
            new=row["near_duplicate_of"] in new,
        )
        for row in held_out.iter_rows(named=True)
    ]
