"""Several caption tracks mixed by weight: `template:0.7,human:0.3`. Each image draws its track anew in every epoch.

An image without a caption in one track uses the others. The mix is a track too, in memory alone, which calls every
image by one of its captions, drawn once for all runs: so losses under the run's own captions are measured as any other.
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

SEED = 0  # Of the caption that an image is measured under: the same for runs of all seeds.


@dataclass(frozen=True)
class Mix:
    """The captions that N images draw from, of K tracks: places among the set's captions, and where each share ends."""

    captions_NK: Tensor
    bounds_NK: Tensor

    def drawn(self, places_B: Tensor, uniform_B: Tensor) -> Tensor:
        """The captions of some images, (B,), by a number in [0, 1) for each."""
        chosen_B = (uniform_B[:, None] >= self.bounds_NK[places_B]).sum(dim=1)
        return self.captions_NK[places_B, chosen_B]


def parts(captions: str | None, snapshot: Snapshot) -> dict[str, float]:
    """The tracks that make the captions asked for, with their shares; {} where it is no mix. Raises BadOption."""
    if captions is None or ":" not in captions or (captions in snapshot.tracks and captions not in snapshot.made):
        return {}
    found: dict[str, float] = {}
    for part in captions.split(","):
        name, _, weight = part.strip().rpartition(":")
        if name in found:
            raise BadOption(f"--captions {captions}: {name} is there twice.")
        found[snapshot.track(name)] = _weight(weight, part, captions)
    total = sum(found.values())
    return {name: round(found[name] / total, 4) for name in snapshot.tracks if name in found}


def _weight(text: str, part: str, captions: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not (0 < weight < math.inf):
        raise BadOption(
            f"--captions {captions}: {part.strip()!r} has no weight above 0. Write track:weight,track:weight."
        )
    return weight


def with_mix(snapshot: Snapshot, shares: Mapping[str, float]) -> tuple[str, Snapshot]:
    """The mix's name, and the snapshot with it as a track."""
    name = ",".join(f"{track}:{share:g}" for track, share in shares.items())
    rows_of = {split: _measured_rows(snapshot.rows(split), name, shares) for split in SPLITS}
    captions = [row.captions[name] for rows in rows_of.values() for row in rows]
    there = [caption for caption in captions if caption is not None]
    versions = {track.name: track.version_digest for track in snapshot.manifest.tracks}
    made = Track(
        name=name,
        column=f"text_{name}",
        version=name,
        version_digest=sha256_json([[track, f"{share:g}", versions[track]] for track, share in shares.items()]),
        strategies={"mix": len(there)},
        captions=len(there),
        empty=there.count(""),
    )
    manifest = snapshot.manifest.model_copy(update={"tracks": [*snapshot.manifest.tracks, made]})
    return name, replace(snapshot, manifest=manifest, rows_of=rows_of, made=snapshot.made | {name})


def _measured_rows(rows: Sequence[Row], name: str, shares: Mapping[str, float]) -> list[Row]:
    drawn = uniform(keys(SEED, "track", 0, 0, [row.sha256 for row in rows]), 1)[:, 0].tolist() if rows else []
    return [
        replace(row, captions={**row.captions, name: _drawn(row, shares, number)})
        for row, number in zip(rows, drawn, strict=True)
    ]


def _drawn(row: Row, shares: Mapping[str, float], number: float) -> str | None:
    ends = bounds(row, shares)
    track = next(track for track, end in zip(shares, ends, strict=True) if number < end) if max(ends) else None
    return None if track is None else row.captions[track]


def bounds(row: Row, shares: Mapping[str, float]) -> list[float]:
    """Where each track's share ends between 0 and 1; of one without a caption where it begins. All 0: none has any."""
    own = [share if row.captions[track] is not None else 0.0 for track, share in shares.items()]
    if not any(own):
        return own
    last = max(place for place, share in enumerate(own) if share)
    ends = [math.fsum(own[: place + 1]) / math.fsum(own) for place in range(len(own))]
    return [*ends[:last], *(2.0 for _ in own[last:])]  # Past any number, however the sum was rounded.
