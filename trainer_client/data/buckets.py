"""Aspect-ratio buckets: pictures trained in a shape near their own instead of a square, and none left out.

A bucket is a size of about resolution squared pixels; every picture goes to the one whose shape is nearest its own, is
scaled to cover it, and loses only what then stands over. Source: NovelAI, "Improvements on Stable Diffusion" (2022).
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


class Place(BaseModel):
    """Where one image goes."""

    file: str
    image_sha256: str
    split: Split
    width_px: int = Field(description="Of the picture.")
    height_px: int
    bucket_width_px: int
    bucket_height_px: int
    cropped: float = Field(description="Share of the picture that is cut off, 0 to 1.")


def sizes(family: Sized, options: DataOptions) -> list[Size]:
    """The buckets there are, wide by high, from the narrowest shape to the widest. Raises BadOption."""
    resolution_px, step_px = family.resolution_px, family.size_step_px
    least_px = _side("--min-side", options.min_side, resolution_px / 2, family)
    most_px = _side("--max-side", options.max_side, resolution_px * 2, family)
    if not least_px <= resolution_px <= most_px:
        raise BadOption(
            f"--min-side {least_px}, --max-side {most_px}: the resolution, {resolution_px} px, isn't between them."
            " Set them round it, or leave them out: half and twice the resolution."
        )
    found = {(resolution_px, resolution_px)}
    for side_px in range(least_px, most_px + 1, step_px):
        other_px = min(most_px, resolution_px**2 // side_px // step_px * step_px)
        if other_px >= least_px:
            found |= {(side_px, other_px), (other_px, side_px)}
    return sorted(found, key=lambda size: (size[0] / size[1], size))


def _side(name: str, asked: int | None, usual: float, family: Sized) -> int:
    step_px = family.size_step_px
    if asked is None:
        return max(step_px, int(usual // step_px) * step_px)
    if asked % step_px:
        raise BadOption(f"{name} {asked}: {family.base} needs a multiple of {step_px} pixels.")
    return asked


def bucket_of(row: Row, among: Sequence[Size]) -> Size:
    """The bucket whose shape is nearest the picture's; of equal ones the largest."""
    shape = math.log(row.width_px / row.height_px)
    return min(among, key=lambda size: (abs(math.log(size[0] / size[1]) - shape), -size[0] * size[1]))


def cropped(row: Row, size: Size) -> float:
    """The share of the picture that is cut off."""
    own, other = row.width_px / row.height_px, size[0] / size[1]
    return 1 - min(own, other) / max(own, other)


def assigned(rows: Iterable[Row], family: Sized, options: DataOptions) -> dict[str, Size]:
    """Every image's bucket, by sha256."""
    among = sizes(family, options)
    return {row.sha256: bucket_of(row, among) for row in rows}


def places(snapshot: Snapshot, family: Sized, options: DataOptions) -> list[Place]:
    """Where every image of the snapshot goes."""
    among = sizes(family, options)
    found = []
    for split in SPLITS:
        for row in snapshot.rows(split):
            size = bucket_of(row, among)
            found.append(
                Place(
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
    return found


def table(found: Sequence[Place]) -> list[str]:
    """For a person: a line a bucket, the fullest first; all images are in it."""
    size_of = [(place.bucket_width_px, place.bucket_height_px) for place in found]
    lines = [f"{'bucket':<11}  {'images':>6}  {'cut off':>7}  {'at most':>7}"]
    for size, count in sorted(Counter(size_of).items(), key=lambda item: (-item[1], item[0])):
        shares = [place.cropped for place, own in zip(found, size_of, strict=True) if own == size]
        mean, most = sum(shares) / count, max(shares)
        lines.append(f"{f'{size[0]}x{size[1]}':<11}  {count:>6}  {mean:>7.1%}  {most:>7.1%}")
    return [*lines, f"{len(found)} images in {len(set(size_of))} buckets, none left out; with --json, where each goes."]
