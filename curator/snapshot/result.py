"""Result models of export and preview."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from curator.snapshot.contents import Contents
from schemas.snapshot import Track


class SnapshotFacts(BaseModel):
    """The facts known before writing."""

    identity: str
    images_identity: str
    dataset: str
    train: int
    held_out: int
    tracks: list[Track]
    left_out: dict[str, int] = Field(description="Images by reason: file-gone, rejected, where, missing-caption.")
    without_caption: dict[str, int] = Field(description="By track: selected images that have no caption in it.")
    licenses: dict[str, int]
    size_bytes: int = Field(description="Total size of the images.")
    notes: list[str]


class SnapshotResult(SnapshotFacts):
    folder: Path
    unchanged: bool = Field(description="It existed already with this content, so nothing was written.")
    placed: dict[str, int] = Field(description="Image files by method: copied, reflinked, linked.")


class PreviewImage(BaseModel):
    """A held-out image."""

    image_sha256: str
    file_name: str
    near_duplicate_of: str = Field(description="Representative of its near-duplicate group.")
    new: bool = Field(description="Held out for the first time.")


class SnapshotPreview(SnapshotFacts):
    unchanged: bool = Field(description="The folder already holds a snapshot with this content.")
    held_out_new: int = Field(description="Images held out for the first time.")
    train_new: int = Field(description="Images assigned to train for the first time.")
    groups: int = Field(description="Near-duplicate groups with several of these images. A group is in one split.")
    group_images: int = Field(description="Images in those groups.")
    groups_held_out: int = Field(description="Held-out groups among them.")
    images: list[PreviewImage] = Field(description="The first images that would be held out, ordered by group.")


def facts_of(contents: Contents) -> dict[str, Any]:
    """Return the fields of SnapshotFacts."""
    samples = contents.samples
    return {
        "identity": contents.identity,
        "images_identity": contents.images_identity,
        "dataset": contents.dataset,
        "train": contents.split_sizes["train"],
        "held_out": contents.split_sizes.get("validation", 0),
        "tracks": contents.tracks,
        "left_out": samples.left_out,
        "without_caption": samples.without,
        "licenses": contents.licenses,
        "size_bytes": int(samples.table["size_bytes"].sum()),
        "notes": samples.assignment.notes,
    }
