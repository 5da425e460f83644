"""The run report's parts: what doesn't change while a run goes on, and what makes two runs the same."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas import __version__
from schemas.digest import sha256_json
from schemas.errors import AlreadyExists, NotFound
from schemas.run import BaseModelRef, Checkpoint, ExampleImage, Prompt, RunReport, SnapshotRef
from schemas.snapshot import Split
from trainer_client.config import TrainConfig, as_resolved_now, decisive_fields
from trainer_client.device import device_name
from trainer_client.families import conventions
from trainer_client.randomness import key

if TYPE_CHECKING:
    from trainer_client.dataset import Row, Snapshot
    from trainer_client.families import Family

FILE = "run.json"
EXAMPLES = 8  # Real images shown beside the grids, the prompts' own first.


def read_report(run_folder: Path) -> RunReport | None:
    """The report in a run's folder, None where no run was begun.

    Raises AlreadyExists where the folder holds something else, BadDocument.
    """
    path = run_folder / FILE
    if path.is_file():
        return RunReport.read(path)
    names = [entry.name for entry in run_folder.iterdir()] if run_folder.is_dir() else []
    # What a run may have made that was killed before its first report was there.
    strangers = [
        name for name in names if name != "state" and not (name.startswith(f".{FILE}.") and name.endswith(".tmp"))
    ]
    if strangers or (run_folder.exists() and not run_folder.is_dir()):
        what = f"holds {sorted(strangers)[0]} but no {FILE}" if strangers else "is a file"
        raise AlreadyExists(f"{run_folder}: {what}; a run needs a folder of its own. Choose another --out.")
    return None


def kept_checkpoints(report: RunReport, run_folder: Path, otherwise: str) -> list[Checkpoint]:
    """Those whose folders are still there, in their order. Raises NotFound where none is; `otherwise` is what to do
    about checkpoints that are gone."""
    kept = [checkpoint for checkpoint in report.checkpoints if (run_folder / checkpoint.folder).is_dir()]
    if kept:
        return kept
    if not report.checkpoints:
        raise NotFound(f"{run_folder}: no checkpoint is saved yet. `trainer train` with the same options goes on.")
    raise NotFound(f"{run_folder}: its checkpoints aren't there any more. {otherwise}")


def decisive(config: dict[str, Any], snapshot: str, base: str, prompts: Sequence[Prompt]) -> dict[str, Any]:
    """Everything that decides what a run learns, draws and measures, by name."""
    fields = {name: config.get(name) for name in decisive_fields()}
    asked = [prompt.model_dump(mode="json") for prompt in prompts]
    return fields | {"snapshot": snapshot, "base": base, "prompts": asked}


def config_digest(facts: dict[str, Any]) -> str:
    """SHA-256 of the decisive facts."""
    return sha256_json(facts)


def differences(report: RunReport, facts: dict[str, Any]) -> list[str]:
    """How a run in progress differs from the one asked for, a phrase a field."""
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
    """What the report says of the snapshot."""
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
    """What the report says of the base."""
    return BaseModelRef(name=family.base, family=family.name, digest=family.digest, revision=family.revision)


def environment(family: Family) -> dict[str, str]:
    """The device, versions and platform a run has."""
    import diffusers
    import torch
    import transformers

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
    """The prompts' own images, then others by hash, held-out and trained in turn, up to eight in all."""
    rows: dict[str, tuple[Split, Row]] = {}
    splits: tuple[Split, ...] = ("validation", "train")
    for split in splits:
        rows |= {row.sha256: (split, row) for row in snapshot.rows(split)}
    chosen = dict.fromkeys(prompt.image_sha256 for prompt in prompts if prompt.image_sha256 in rows)
    by_hash = [sorted(snapshot.rows(split), key=lambda row: key(0, "example", 0, 0, row.sha256)) for split in splits]
    for place in range(EXAMPLES):
        for listed in by_hash:
            if place < len(listed) and len(chosen) < EXAMPLES:
                chosen.setdefault(listed[place].sha256)
    return [_example(*rows[sha256]) for sha256 in chosen if sha256 is not None]


def _example(split: Split, row: Row) -> tuple[ExampleImage, Row]:
    captions = {track: caption for track, caption in row.captions.items() if caption is not None}
    return ExampleImage(image_sha256=row.sha256, split=split, captions=captions), row


def prompt_references(prompts: Sequence[Prompt], examples: Sequence[ExampleImage]) -> list[int | None]:
    """For each prompt, where its real image stands among the examples."""
    places = {example.image_sha256: place for place, example in enumerate(examples)}
    return [places.get(prompt.image_sha256) if prompt.image_sha256 else None for prompt in prompts]


def resolved(config: TrainConfig, family: Family) -> TrainConfig:
    """The config with every default that depends on base or machine filled in."""
    return config.model_copy(
        update={
            "resolution": family.resolution_px,
            "device": str(family.device),
            **conventions.resolved(family),
            "precision": {"torch.bfloat16": "bf16", "torch.float32": "fp32"}[str(family.dtype)],
        }
    )
