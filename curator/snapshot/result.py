"""What a snapshot holds and what it left out, as told once it is made, or before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from curator.snapshot.contents import Contents
from schemas.snapshot import Track


class SnapshotFacts(BaseModel):
    """What is known of a snapshot before a file of it is written."""

    identity: str
    images_identity: str
    dataset: str
    train: int
    held_out: int
    tracks: list[Track]
    left_out: dict[str, int] = Field(description="Images by reason: file-gone, rejected, where, missing-caption.")
    without_caption: dict[str, int] = Field(description="Images that --where holds for and a track has no caption of.")
    licenses: dict[str, int]
    size_bytes: int = Field(description="Of the images.")
    notes: list[str]


class SnapshotResult(SnapshotFacts):
    """A snapshot that is there."""

    folder: Path
    unchanged: bool = Field(description="It was there already, with this very content; nothing was written.")
    placed: dict[str, int] = Field(description="Image files by how they came: copied, reflinked, linked.")


class PreviewImage(BaseModel):
    """An image that would be held out."""

    image_sha256: str
    file_name: str
    near_duplicate_of: str = Field(description="Its group's representative: groups go to one split whole.")
    new: bool = Field(description="Held out for the first time.")


class SnapshotPreview(SnapshotFacts):
    """A snapshot as it would be. Nothing was written, no split stored."""

    unchanged: bool = Field(description="It is at --out already, with this very content.")
    held_out_new: int = Field(description="Of those held out: for the first time.")
    train_new: int = Field(description="Of those to train on: given to train for the first time.")
    groups: int = Field(description="Near-duplicate groups of several of these images, each whole in one split.")
    group_images: int = Field(description="Images in those groups.")
    groups_held_out: int = Field(description="Of those groups: held out.")
    images: list[PreviewImage] = Field(description="The first that would be held out, groups together.")


def facts_of(contents: Contents) -> dict[str, Any]:
    """The fields of SnapshotFacts."""
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
