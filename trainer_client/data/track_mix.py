"""A weighted mix of caption tracks: `template:0.7,human:0.3`. Each image picks a track anew in every epoch.

An image without a caption in one track uses the others. For measuring losses, the mix is also a track in memory that
gives each image one fixed caption, the same for all runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from schemas.digest import sha256_json
from schemas.errors import BadOption
from schemas.snapshot import SPLITS, Track
from trainer_client.data.snapshot import Row, Snapshot
from trainer_client.randomness import keys, uniform

SEED = 0  # Picks the caption that an image is measured under, for runs of all seeds.


@dataclass(frozen=True)
class TrackMix:
    """The captions of N images in K tracks, and the upper end of each track's share."""

    captions_NK: Tensor
    bounds_NK: Tensor

    def pick(self, indices_B: Tensor, uniform_B: Tensor) -> Tensor:
        """Return captions (B,), picked by a number in [0, 1) for each image."""
        chosen_B = (uniform_B[:, None] >= self.bounds_NK[indices_B]).sum(dim=1)
        return self.captions_NK[indices_B, chosen_B]


def parse_shares(captions: str | None, snapshot: Snapshot) -> dict[str, float]:
    """Return the tracks of a mix with their shares, {} if it is no mix. Raise BadOption."""
    if captions is None or ":" not in captions or (captions in snapshot.tracks and captions not in snapshot.made):
        return {}
    weights: dict[str, float] = {}
    for part in captions.split(","):
        name, _, weight = part.strip().rpartition(":")
        if name in weights:
            raise BadOption(f"--captions {captions}: {name} is given twice. Name each track once.")
        weights[snapshot.track(name)] = _weight(weight, part, captions)
    total = sum(weights.values())
    return {name: round(weights[name] / total, 4) for name in snapshot.tracks if name in weights}


def _weight(text: str, part: str, captions: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not (0 < weight < math.inf):
        raise BadOption(
            f"--captions {captions}: {part.strip()!r} has no weight above 0. Write TRACK:WEIGHT,TRACK:WEIGHT."
        )
    return weight


def with_mix(snapshot: Snapshot, shares: Mapping[str, float]) -> tuple[str, Snapshot]:
    """Return the mix's name, and the snapshot with the mix as a track."""
    name = ",".join(f"{track}:{share:g}" for track, share in shares.items())
    rows_of = {split: _measured_rows(snapshot.rows(split), name, shares) for split in SPLITS}
    captions = [row.captions[name] for rows in rows_of.values() for row in rows]
    present = [caption for caption in captions if caption is not None]
    versions = {track.name: track.version_digest for track in snapshot.manifest.tracks}
    track = Track(
        name=name,
        column=f"text_{name}",
        version=name,
        version_digest=sha256_json([[track, f"{share:g}", versions[track]] for track, share in shares.items()]),
        strategies={"mix": len(present)},
        captions=len(present),
        empty=present.count(""),
    )
    manifest = snapshot.manifest.model_copy(update={"tracks": [*snapshot.manifest.tracks, track]})
    return name, replace(snapshot, manifest=manifest, rows_of=rows_of, made=snapshot.made | {name})


def _measured_rows(rows: Sequence[Row], name: str, shares: Mapping[str, float]) -> list[Row]:
    numbers = uniform(keys(SEED, "track", 0, 0, [row.sha256 for row in rows]), 1)[:, 0].tolist() if rows else []
    return [
        replace(row, captions={**row.captions, name: _pick_caption(row, shares, number)})
        for row, number in zip(rows, numbers, strict=True)
    ]


def _pick_caption(row: Row, shares: Mapping[str, float], number: float) -> str | None:
    ends = share_ends(row, shares)
    track = next(track for track, end in zip(shares, ends, strict=True) if number < end) if max(ends) else None
    return None if track is None else row.captions[track]


def share_ends(row: Row, shares: Mapping[str, float]) -> list[float]:
    """Return the upper end of each track's share in [0, 1); all 0 if the image has no caption.

    The last share ends at 2, past any number, whatever the rounding.
    """
    available = [share if row.captions[track] is not None else 0.0 for track, share in shares.items()]
    if not any(available):
        return available
    last = max(index for index, share in enumerate(available) if share)
    ends = [math.fsum(available[: index + 1]) / math.fsum(available) for index in range(len(available))]
    return [*ends[:last], *(2.0 for _ in available[last:])]
