"""The snapshot: images and split once, one caption track for each exported version. Prose: `spec/snapshot.md`."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator

from schemas.digest import sha256_json
from schemas.document import Document, FileRef, Part, RelativePath, Sha256, Timestamp

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")


def manifest_digest(manifest: dict[str, Any]) -> str:
    """The digest of a manifest's JSON as it stands, fields this version doesn't know included."""
    return sha256_json({name: value for name, value in manifest.items() if name != "manifest_digest"})


class Track(Part):
    """One committed version of a caption set, as this snapshot carries it."""

    name: str = Field(description="The caption set's name.")
    column: str = Field(description="Its column in metadata.jsonl: `text` for the first track, else `text_<name>`.")
    version: str = Field(description="The version exported, `dataset/set@n`.", examples=["openmoji/template@1"])
    version_digest: Sha256
    strategies: dict[str, int] = Field(description="How many captions each strategy made.")
    captions: int = Field(ge=0, description="Samples with a caption in this track, empty ones counted.")
    empty: int = Field(ge=0, description="Captions that are the empty string.")


class SplitCount(Part):
    """One split: a valid imagefolder under its own folder."""

    samples: int = Field(ge=0)
    folder: RelativePath
    metadata: FileRef = Field(description="The split's metadata.jsonl. Its rows carry each image's checksum.")


class Selection(Part):
    """The selection asked for, and the images left out, counted by reason."""

    where: str | None = None
    holdout: str | None = Field(default=None, description="The holdout rule as given, for example `40` or `0.2`.")
    left_out: dict[str, int] = Field(default_factory=dict, description="Images left out, by reason.")


class SnapshotManifest(Document):
    """`manifest.json`, written last: a folder without one is not a snapshot."""

    type: Literal["amatl/snapshot/v1"] = "amatl/snapshot/v1"
    identity: Sha256 = Field(description="Over the sorted (image sha256, {track: caption}, split); see spec.")
    images_identity: Sha256 = Field(
        description="Over the sorted (image sha256, {}, split): equal where images and split are."
    )
    dataset: str
    tracks: list[Track] = Field(min_length=1)
    splits: dict[Split, SplitCount] = Field(
        json_schema_extra={"required": ["train"]}, description="`validation` is absent where nothing is held out."
    )
    selection: Selection
    licenses: dict[str, int] = Field(description="Samples by licence; `unknown` where the metadata has none.")
    samples: FileRef = Field(description="samples.parquet: a row a sample with provenance of every caption.")
    created_at: Timestamp
    created_by: str
    tool: str = Field(examples=["curator 0.1.0"])
    manifest_digest: Sha256 | None = Field(
        default=None, description="Over canonical JSON of the manifest without this field; null: not sealed."
    )

    def sealed(self) -> Self:
        """The manifest with its own digest, so that a byte flipped in it is found like one in any other file."""
        return self.model_copy(update={"manifest_digest": manifest_digest(self.model_dump(mode="json"))})

    @field_validator("splits")
    @classmethod
    def _has_train(cls, splits: dict[Split, SplitCount]) -> dict[Split, SplitCount]:
        if "train" not in splits:
            raise ValueError("there is no train split")
        return splits


class SampleRow(Part):
    """A line of a split's metadata.jsonl. Further `text_<set>` columns hold the other tracks' captions."""

    file_name: RelativePath = Field(description="Relative to the split's folder: `<sha256[:16]>.<ext>`.")
    text: str | None = Field(description="The first track's caption; null where it has none and the image was kept.")
    sha256: Sha256
    size_bytes: int = Field(gt=0)
    width_px: int = Field(gt=0)
    height_px: int = Field(gt=0)
