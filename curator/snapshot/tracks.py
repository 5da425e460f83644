"""Resolve the versions of a snapshot to caption tracks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from curator.caption_sets.reference import Reference, resolve, set_versions
from curator.catalog import Catalog
from schemas.errors import BadOption
from schemas.snapshot import Track


@dataclass(frozen=True)
class TrackSource:
    """A version with its captions, as returned by `Catalog.track`."""

    name: str
    version: str
    digest: str
    captions: pl.DataFrame

    def described(self, samples: pl.DataFrame, column: str) -> Track:
        """Return its entry in the manifest."""
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
    """Return each track's metadata.jsonl column: `text`, then `text_<set>`."""
    return {track.name: f"text_{track.name}" if position else "text" for position, track in enumerate(tracks)}


def tracks_of(catalog: Catalog, references: Sequence[str]) -> tuple[str, list[TrackSource]]:
    """Return the dataset and the tracks of `references`.

    Raises NotFound; BadOption for a set without a version, several datasets, or a repeated set.
    """
    resolved = [_committed(catalog, reference) for reference in references]
    datasets = sorted({reference.dataset for reference in resolved})
    if len(datasets) != 1:
        raise BadOption(f"A snapshot is of one dataset, but these versions are of {', '.join(datasets)}.")
    for name, times in Counter(reference.set_name for reference in resolved).items():
        if times > 1:
            raise BadOption(
                f"{name}: given {times} times, but a snapshot holds one version of a set. Export one snapshot for "
                "each: they share images and split, so runs on them can still be compared."
            )
    return datasets[0], [_source(catalog, reference) for reference in resolved]


def _committed(catalog: Catalog, text: str) -> Reference:
    """Raise BadOption for uncommitted captions."""
    reference = resolve(catalog, text)
    if reference.number is not None:
        return reference
    versions = set_versions(catalog, reference.dataset, reference.set_name)
    if versions:
        raise BadOption(f"{text}: give a committed version. The latest is {reference}@{versions[-1]['number']}.")
    raise BadOption(f'{text}: only a committed version can be exported. Run: curator commit {reference} -m "draft"')


def _source(catalog: Catalog, version: Reference) -> TrackSource:
    digests = {row["number"]: row["digest"] for row in set_versions(catalog, version.dataset, version.set_name)}
    assert version.number is not None and version.last_caption_id is not None
    captions = catalog.track(version.dataset, version.set_name, version.last_caption_id)
    return TrackSource(version.set_name, str(version), digests[version.number], captions)
