"""The versions a snapshot carries, one caption track each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.errors import BadOption, NotFound
from schemas.snapshot import Track

if TYPE_CHECKING:
    import polars as pl

    from curator.catalog import Catalog


@dataclass(frozen=True)
class TrackSource:
    """One version to export: its names, its digest, its captions as `Catalog.track` gives them."""

    name: str
    version: str
    digest: str
    captions: pl.DataFrame

    def described(self, samples: pl.DataFrame, column: str) -> Track:
        """What the manifest says of this track, over the samples of the snapshot."""
        import polars as pl

        texts = samples[f"caption.{self.name}"].drop_nulls()
        used = self.captions.filter(pl.col("image_sha256").is_in(samples["sha256"].implode()))
        return Track(
            name=self.name,
            column=column,
            version=self.version,
            version_digest=self.digest,
            strategies=dict(sorted(Counter(used["strategy"]).items())),
            captions=len(texts),
            empty=int((texts == "").sum()),
        )


def columns(tracks: Sequence[TrackSource]) -> dict[str, str]:
    """The column of metadata.jsonl of each track: `text` for the first, `text_<set>` for the others."""
    return {track.name: f"text_{track.name}" if position else "text" for position, track in enumerate(tracks)}


def tracks_of(catalog: Catalog, references: Sequence[str]) -> tuple[str, list[TrackSource]]:
    """The dataset and the tracks that `references` name, in their order.

    Raises BadOption where they name several datasets, or one set twice; NotFound for a version there isn't.
    """
    versions = [resolve_version(catalog, reference) for reference in references]
    datasets = sorted({version.dataset for version in versions})
    if len(datasets) != 1:
        raise BadOption(f"A snapshot is of one dataset, and these versions are of {', '.join(datasets)}.")
    sets = Counter(version.set_name for version in versions)
    for name, times in sets.items():
        if times > 1:
            raise BadOption(
                f"{name}: named {times} times, and a snapshot holds one version of a set. Make one snapshot for each: "
                "they share images and split, so runs on them can still be compared."
            )
    return datasets[0], [
        TrackSource(
            version.set_name, str(version), version.digest, catalog.track(datasets[0], version.set_name, version.number)
        )
        for version in versions
    ]


@dataclass(frozen=True)
class _Version:
    dataset: str
    set_name: str
    number: int
    digest: str

    def __str__(self) -> str:
        return f"{self.dataset}/{self.set_name}@{self.number}"


REFERENCE = re.compile(r"(?:(?P<dataset>[^/@]+)/)?(?P<set>[^/@]+)(?:@(?P<number>[0-9]+))?")


def resolve_version(catalog: Catalog, reference: str) -> _Version:
    """The committed version a reference names. Raises BadOption where it is no single version, NotFound."""
    match = REFERENCE.fullmatch(reference)
    if match is None:
        raise BadOption(f"{reference}: not a version. Write dataset/set@n or set@n, for example template@1.")
    versions = [_Version(*row) for row in catalog.committed_versions().iter_rows()]
    named = [
        version
        for version in versions
        if version.set_name == match["set"] and match["dataset"] in (None, version.dataset)
    ]
    if not named:
        raise NotFound(f"{reference}: nothing of that name is committed. Commit it with: curator commit {match['set']}")
    if len({version.dataset for version in named}) > 1:
        raise BadOption(f"{reference}: several datasets have it. Write one of {', '.join(map(str, named))}.")
    if match["number"] is None:
        raise BadOption(f"{reference}: name a committed version; the latest is {named[-1]}.")
    for version in named:
        if version.number == int(match["number"]):
            return version
    raise NotFound(f"{reference}: there is no such version; the latest is {named[-1]}.")
