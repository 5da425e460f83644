"""Examples for OpenAPI; a test validates them."""

from __future__ import annotations

from typing import Any

FOX = "3f1d2c0b9a8e7d6c5b4a392817061524f3e2d1c0b9a8f7e6d5c4b3a291807f6e"
SNAPSHOT_IDENTITY = "8b9698345812dbcbc78c46a14f6567e02ca348710736856e64c5210ec9647648"
DIGEST = "5d1f8c4a7e2b9036d5c8f1a4b7e0d3c6f9a2b5d8e1c4f7a0b3d6e9c2f5a8b1d4"
MOMENT = "2026-11-26T12:00:00Z"

_FACTS: dict[str, Any] = {
    "number": 12,
    "sha256": FOX,
    "file_name": "1F98A-fox.png",
    "width_px": 618,
    "height_px": 618,
    "size_bytes": 21310,
    "format": "png",
    "has_alpha": True,
    "license": "CC BY-SA 4.0",
    "source_url": None,
    "split": "train",
}
DATASET: dict[str, Any] = {
    "dataset": "openmoji",
    "images": 277,
    "paths": 280,
    "near_duplicate_groups": 3,
    "near_duplicate_images": 7,
    "rejects": 1,
    "rejects_by_reason": {"truncated": 1},
    "without_split": 0,
    "sets": [{"set_name": "human", "captions": 252, "without_image": 2, "missing": 27}],
}
PAGE: dict[str, Any] = {
    "dataset": "openmoji",
    "sets": ["human"],
    "total": 31,
    "position": 0,
    "images": [
        _FACTS | {"near_duplicate_of": FOX, "captions": {"human": {"caption_id": 812, "text": "a red fox"}}},
    ],
    "after": 12,
    "before": None,
}
IMAGE: dict[str, Any] = _FACTS | {
    "dataset": "openmoji",
    "file_names": ["1F98A-fox.png"],
    "metadata": {"annotation": "fox", "tags": "animal, wild"},
    "captions": [
        {
            "set_name": "human",
            "caption_id": 812,
            "text": "a red fox",
            "parent_id": 533,
            "run_id": 9,
            "captioned_at": MOMENT,
            "strategy": "edit",
            "strategy_version": 1,
            "options": {},
            "model": None,
            "model_revision": None,
            "by_person": True,
            "person": "ana",
            "restored_from": None,
            "restored_by": None,
        }
    ],
    "near_duplicates": [],
}
ADDRESSES: dict[str, Any] = {
    "original": f"/images/{FOX}?expires=1795780800&signature={DIGEST}",
    "thumbnail": f"/thumbnails/{FOX}.jpg?expires=1795780800&signature={DIGEST}",
    "expires_at": "2026-11-27T12:00:00Z",
}
REVISED: dict[str, Any] = {
    "dataset": "openmoji",
    "set_name": "human",
    "image_sha256": FOX,
    "caption_id": 813,
    "text": "a red fox, sitting in the snow",
    "person": "ana",
    "unchanged": False,
}
SET: dict[str, Any] = {
    "dataset": "openmoji",
    "set_name": "human",
    "captions": 250,
    "uncommitted": 1,
    "versions": [
        {
            "number": 1,
            "captions": 249,
            "digest": DIGEST,
            "message": "first round",
            "person": "ana",
            "committed_at": MOMENT,
        }
    ],
}
DIFF: dict[str, Any] = {
    "before": "openmoji/human@1",
    "after": "openmoji/human",
    "added": 0,
    "removed": 0,
    "changed": 1,
    "unchanged": 249,
    "changes": [
        {
            "kind": "changed",
            "image_sha256": FOX,
            "file_name": "1F98A-fox.png",
            "before": "a fox",
            "after": "a red fox",
            "words": [
                {"op": "equal", "text": "a "},
                {"op": "insert", "text": "red "},
                {"op": "equal", "text": "fox"},
            ],
        }
    ],
    "left_off": 0,
}
SNAPSHOT: dict[str, Any] = {
    "identity": SNAPSHOT_IDENTITY,
    "images_identity": DIGEST,
    "dataset": "openmoji",
    "tracks": [
        {
            "name": "human",
            "column": "text",
            "version": "openmoji/human@1",
            "version_digest": DIGEST,
            "strategies": {"annotate": 249},
            "captions": 249,
            "empty": 0,
        }
    ],
    "train": 224,
    "held_out": 25,
    "size_bytes": 4210332,
    "person": "ana",
    "made_at": MOMENT,
    "folder": "/data/snapshots/human",
    "here": True,
    "runs": 1,
}
RUN: dict[str, Any] = {
    "run_key": DIGEST,
    "digest": FOX,
    "name": "human",
    "status": "complete",
    "snapshot_identity": SNAPSHOT_IDENTITY,
    "dataset": "openmoji",
    "captions": "human",
    "versions": ["openmoji/human@1"],
    "base": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "method": "full",
    "epochs": 45,
    "checkpoints": 7,
    "started_at": MOMENT,
    "updated_at": MOMENT,
    "person": "ben",
    "posted_at": MOMENT,
}
JOB: dict[str, Any] = {
    "id": "20261126T120000Z-5d1f8c4a",
    "command": ["caption", "openmoji", "--strategy", "template", "--set", "template", "-o", "template=${title}"],
    "person": "ana",
    "status": "running",
    "started_at": MOMENT,
    "ended_at": None,
    "stage": "captioning",
    "done": 120,
    "total": 277,
    "detail": "",
    "notices": [],
    "error": None,
    "result": None,
}
