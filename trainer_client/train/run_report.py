"""Build the run record: its fixed parts, and the settings by which two runs are the same."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

import diffusers
import torch
import transformers

from schemas import __version__
from schemas.digest import sha256_json
from schemas.run import BaseModelRef, ExampleImage, Prompt, RunReport, SnapshotRef
from schemas.snapshot import Split
from trainer_client.config import as_resolved_now, decisive_fields
from trainer_client.data.snapshot import Row, Snapshot
from trainer_client.device import device_name
from trainer_client.models import Family
from trainer_client.randomness import key

EXAMPLES = 8  # Real images shown beside the grids, the prompts' own first.


def decisive(config: dict[str, Any], snapshot: str, base: str, prompts: Sequence[Prompt]) -> dict[str, Any]:
    """Return every setting that affects training, sampling or evaluation, by name."""
    fields = {name: config.get(name) for name in decisive_fields()}
    asked = [prompt.model_dump(mode="json") for prompt in prompts]
    return fields | {"snapshot": snapshot, "base": base, "prompts": asked}


def config_digest(facts: dict[str, Any]) -> str:
    """Return the SHA-256 of the decisive settings."""
    return sha256_json(facts)


def differences(report: RunReport, facts: dict[str, Any]) -> list[str]:
    """List how the run in the folder differs from the requested one."""
    begun = decisive(as_resolved_now(report.config), report.snapshot.identity, report.base.digest, report.prompts)
    return [_difference(name, begun.get(name), asked) for name, asked in facts.items() if begun.get(name) != asked]


def _difference(name: str, begun: Any, asked: Any) -> str:
    if name == "prompts":
        return "other prompts"
    if name in ("snapshot", "base"):
        return f"another {name} ({begun[:12]} there, {asked[:12]} here)"
    return f"--{name.replace('_', '-')} {_text(begun)} there, {_text(asked)} here"


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def snapshot_ref(snapshot: Snapshot) -> SnapshotRef:
    manifest = snapshot.manifest
    return SnapshotRef(
        identity=manifest.identity,
        images_identity=manifest.images_identity,
        dataset=manifest.dataset,
        tracks=manifest.tracks,
        train_images=len(snapshot.rows("train")),
        held_out_images=len(snapshot.rows("validation")),
    )


def base_ref(family: Family) -> BaseModelRef:
    return BaseModelRef(name=family.base, family=family.name, digest=family.digest, revision=family.identity.revision)


def environment(family: Family) -> dict[str, str]:
    """Return device, versions and platform."""

    return {
        "amatl": __version__,
        "device": str(family.device),
        "device_name": device_name(family.device),
        "precision": str(family.dtype).removeprefix("torch."),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": str(torch.version.cuda or "none"),
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
        "platform": platform.platform(),
    }


def choose_examples(snapshot: Snapshot, prompts: Sequence[Prompt]) -> list[tuple[ExampleImage, Row]]:
    """Choose the prompts' own images, then others by hash, held-out and training in turn, eight in all."""
    rows: dict[str, tuple[Split, Row]] = {}
    splits: tuple[Split, ...] = ("validation", "train")
    for split in splits:
        rows |= {row.sha256: (split, row) for row in snapshot.rows(split)}
    chosen = dict.fromkeys(prompt.image_sha256 for prompt in prompts if prompt.image_sha256 in rows)
    by_hash = [sorted(snapshot.rows(split), key=lambda row: key(0, "example", 0, 0, row.sha256)) for split in splits]
    for index in range(EXAMPLES):
        for listed in by_hash:
            if index < len(listed) and len(chosen) < EXAMPLES:
                chosen.setdefault(listed[index].sha256)
    return [_example(*rows[sha256]) for sha256 in chosen if sha256 is not None]


def _example(split: Split, row: Row) -> tuple[ExampleImage, Row]:
    captions = {track: caption for track, caption in row.captions.items() if caption is not None}
    return ExampleImage(image_sha256=row.sha256, split=split, captions=captions), row


def prompt_references(prompts: Sequence[Prompt], examples: Sequence[ExampleImage]) -> list[int | None]:
    """For each prompt, return the index of its real image among the examples."""
    indices = {example.image_sha256: index for index, example in enumerate(examples)}
    return [indices.get(prompt.image_sha256) if prompt.image_sha256 else None for prompt in prompts]
