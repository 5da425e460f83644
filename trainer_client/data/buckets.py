"""Aspect-ratio buckets: train images near their own shape instead of square, and leave none out.

A bucket is a size of about resolution squared pixels; an image is scaled to cover the one with the nearest aspect
ratio, then cropped. Source: NovelAI, "Improvements on Stable Diffusion" (2022).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, Field

from schemas.errors import BadOption
from schemas.images.jpeg import Size
from schemas.snapshot import SPLITS, Split
from trainer_client.config.parts import DataOptions
from trainer_client.data.model import Sized
from trainer_client.data.snapshot import Row, Snapshot


class BucketAssignment(BaseModel):
    """The bucket of one image."""

    file: str
    image_sha256: str
    split: Split
    width_px: int = Field(description="Size of the image.")
    height_px: int
    bucket_width_px: int
    bucket_height_px: int
    cropped: float = Field(description="Share of the image that is cropped off, 0 to 1.")


def sizes(family: Sized, options: DataOptions) -> list[Size]:
    """Return bucket sizes (width, height), from narrowest to widest. Raise BadOption."""
    resolution_px, step_px = family.resolution_px, family.size_step_px
    least_px = _side("--min-side", options.min_side, resolution_px / 2, family)
    most_px = _side("--max-side", options.max_side, resolution_px * 2, family)
    if not least_px <= resolution_px <= most_px:
        raise BadOption(
            f"--min-side {least_px}, --max-side {most_px}: the resolution, {resolution_px} px, isn't between them."
            " Set one below and one above it, or leave them out: half and twice the resolution."
        )
    buckets = {(resolution_px, resolution_px)}
    for side_px in range(least_px, most_px + 1, step_px):
        other_px = min(most_px, resolution_px**2 // side_px // step_px * step_px)
        if other_px >= least_px:
            buckets |= {(side_px, other_px), (other_px, side_px)}
    return sorted(buckets, key=lambda size: (size[0] / size[1], size))


def _side(name: str, given: int | None, default: float, family: Sized) -> int:
    step_px = family.size_step_px
    if given is None:
        return max(step_px, int(default // step_px) * step_px)
    if given % step_px:
        raise BadOption(f"{name} {given}: {family.base} needs a multiple of {step_px} pixels.")
    return given


def bucket_of(row: Row, among: Sequence[Size]) -> Size:
    """Return the bucket with the nearest aspect ratio, the largest of equals."""
    shape = math.log(row.width_px / row.height_px)
    return min(among, key=lambda size: (abs(math.log(size[0] / size[1]) - shape), -size[0] * size[1]))


def cropped(row: Row, size: Size) -> float:
    """Return the share of the image that is cropped off."""
    image, bucket = row.width_px / row.height_px, size[0] / size[1]
    return 1 - min(image, bucket) / max(image, bucket)


def bucket_by_sha256(rows: Iterable[Row], family: Sized, options: DataOptions) -> dict[str, Size]:
    among = sizes(family, options)
    return {row.sha256: bucket_of(row, among) for row in rows}


def assignments(snapshot: Snapshot, family: Sized, options: DataOptions) -> list[BucketAssignment]:
    among = sizes(family, options)
    assigned = []
    for split in SPLITS:
        for row in snapshot.rows(split):
            size = bucket_of(row, among)
            assigned.append(
                BucketAssignment(
                    file=f"{row.path.parent.name}/{row.path.name}",
                    image_sha256=row.sha256,
                    split=split,
                    width_px=row.width_px,
                    height_px=row.height_px,
                    bucket_width_px=size[0],
                    bucket_height_px=size[1],
                    cropped=round(cropped(row, size), 4),
                )
            )
    return assigned


def table_lines(assigned: Sequence[BucketAssignment]) -> list[str]:
    """Return a table for people: one line per bucket, the fullest first."""
    bucket_sizes = [(image.bucket_width_px, image.bucket_height_px) for image in assigned]
    lines = [f"{'bucket':<11}  {'images':>6}  {'cut off':>7}  {'at most':>7}"]
    for size, count in sorted(Counter(bucket_sizes).items(), key=lambda item: (-item[1], item[0])):
        shares = [image.cropped for image, bucket in zip(assigned, bucket_sizes, strict=True) if bucket == size]
        mean, most = sum(shares) / count, max(shares)
        lines.append(f"{f'{size[0]}x{size[1]}':<11}  {count:>6}  {mean:>7.1%}  {most:>7.1%}")
    return [
        *lines,
        f"{len(assigned)} images in {len(set(bucket_sizes))} buckets, none left out. --json lists the images.",
    ]
