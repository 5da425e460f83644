"""Run folders made up for the comparison's tests: planted losses, plain tiles, no model. Never results."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from schemas.digest import sha256_file
from schemas.document import FileRef
from schemas.run import (
    BaseModelRef,
    Checkpoint,
    Cost,
    EpochRecord,
    Evaluation,
    ExampleImage,
    Grid,
    Prompt,
    RunReport,
    SnapshotRef,
    Truncation,
)
from schemas.snapshot import Track

TRACKS = ("empty", "fixed", "template", "human")
SPEAKING = ("template", "human")
WHEN = "2026-11-23T12:00:00Z"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Plan:
    """What a made-up run shows. `learns`: how far its own loss falls; `relies`: what wrong captions cost; `leaks`."""

    captions: str = "template"
    name: str | None = None
    epochs: Sequence[int] = (0, 1, 3)
    learns: float = 0.02
    relies: float = 0.02
    leaks: float = 0.1
    level: float = 0.15
    noise: float = 0.001
    held_out: int = 16
    prompts: Sequence[Prompt] | None = None
    seeds: Sequence[int] = (1, 2)
    tile_px: int = 8
    status: str = "complete"
    config: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    format: str = "PNG"


def prompts(count: int = 4) -> list[Prompt]:
    """A suite with every role, the first two captions of the first two examples."""
    suite = [
        Prompt(
            text="openmoji drawing of a fox", role="held-out-caption", image_sha256=sha("image 0"), track="template"
        ),
        Prompt(text="a small orange fox sitting", role="seen-caption", image_sha256=sha("image 1"), track="human"),
        Prompt(text="a red car", role="unrelated"),
        Prompt(text="an image", role="generic"),
        Prompt(text="an oil painting of a fox", role="fighting-style"),
        Prompt(text="a purple elephant with wings", role="made-up-subject"),
    ]
    more = [Prompt(text=f"prompt number {number}", role="custom") for number in range(max(0, count - len(suite)))]
    return [*suite[:count], *more]


def make_run(folder: Path, plan: Plan) -> RunReport:
    """Writes a run folder: grids first, run.json last."""
    (folder / "grids").mkdir(parents=True)
    suite = list(plan.prompts if plan.prompts is not None else prompts())
    checkpoints = [_checkpoint(folder, plan, suite, epoch) for epoch in plan.epochs]
    report = RunReport(
        **{**_fixed(folder, plan, suite), "checkpoints": checkpoints, "epochs": _epochs(plan), **plan.fields}
    )
    report.write(folder / "run.json")
    return report


def _fixed(folder: Path, plan: Plan, suite: list[Prompt]) -> dict[str, Any]:
    shown = [sha(f"image {number}") for number in range(3)]
    examples = [
        ExampleImage(
            image_sha256=image,
            split="validation" if number == 0 else "train",
            captions={track: _caption(track, number) for track in TRACKS},
        )
        for number, image in enumerate(shown)
    ]
    last = max(plan.epochs)
    return {
        "name": plan.name or plan.captions,
        "status": plan.status,
        "started_at": WHEN,
        "updated_at": WHEN,
        "snapshot": _snapshot(plan),
        "captions": plan.captions,
        "base": BaseModelRef(name="examples/mini/sd", family="stable-diffusion", digest=sha("base")),
        "config": {"seed": 0, "epochs": last, "learning_rate": 1e-4, "captions": plan.captions, **plan.config},
        "config_digest": sha(f"config {plan.captions}"),
        "environment": {"device_name": "CPU, 2 cores", "torch": "2.13"},
        "prompts": suite,
        "seeds": list(plan.seeds),
        "held_out_images": [sha(f"held out {number}") for number in range(plan.held_out)],
        "train_subset_images": [sha(f"train {number}") for number in range(12)],
        "examples": examples,
        "references": _grid(folder, "references", 1, len(examples), plan, 0.0),
        "prompt_references": [
            shown.index(prompt.image_sha256) if prompt.image_sha256 in shown else None for prompt in suite
        ],
        "truncation": Truncation(token_limit=77, captions=60, truncated=0),
        "cost": Cost(training_seconds=10.0 * last, sampling_seconds=8, evaluating_seconds=4, preparing_seconds=3),
    }


def _snapshot(plan: Plan) -> SnapshotRef:
    tracks = [
        Track(
            name=name,
            column="text" if name == "template" else f"text_{name}",
            version=f"openmoji/{name}@1",
            version_digest=sha(f"{name}@1"),
            strategies={name: 76},
            captions=76,
            empty=76 if name == "empty" else 0,
        )
        for name in TRACKS
    ]
    return SnapshotRef(
        identity=sha("snapshot"),
        images_identity=sha("images"),
        dataset="openmoji",
        tracks=tracks,
        train_images=60,
        held_out_images=plan.held_out,
    )


def _caption(track: str, number: int) -> str:
    words = {"empty": "", "fixed": "openmoji drawing", "template": f"openmoji drawing of thing {number}"}
    return words.get(track, f"a small friendly thing, number {number}, seen from the side")


def _epochs(plan: Plan) -> list[EpochRecord]:
    return [
        EpochRecord(epoch=e, steps=8 * e, train_loss=0.2, learning_rate=1e-4, seconds=10.0, images_per_second=6.0)
        for e in range(1, max(plan.epochs) + 1)
    ]


def _checkpoint(folder: Path, plan: Plan, suite: list[Prompt], epoch: int) -> Checkpoint:
    share = (epoch / max(max(plan.epochs), 1)) ** 0.4
    return Checkpoint(
        epoch=epoch,
        folder=f"checkpoints/epoch-{epoch:03}",
        saved_at=WHEN,
        grid=_grid(folder, f"epoch-{epoch:03}", len(suite), len(plan.seeds), plan, share),
        evaluation=evaluation(plan, share, epoch),
        sampling_seconds=2.0,
        evaluating_seconds=1.0,
    )


def evaluation(plan: Plan, share: float, epoch: int) -> Evaluation:
    """Losses that fall by `plan.learns` times `share` under the own track (half under others), with noise."""
    noise = np.random.default_rng([len(plan.captions), epoch])
    images = np.random.default_rng(7).normal(0, 0.03, plan.held_out)
    fall = {track: plan.learns * share * (1 if track == plan.captions else 0.5) for track in TRACKS}
    wobble = noise.normal(0, plan.noise, (3, plan.held_out))
    held_out = {track: plan.level + images - fall[track] + wobble[0] for track in TRACKS}
    relies = 0.008 + (plan.relies - 0.008) * share
    shuffled = {
        track: held_out[track] + relies * (1 if track == plan.captions else 0.6) + wobble[1] for track in SPEAKING
    }
    train = 0.15 + np.random.default_rng(8).normal(0, 0.03, 12) - 1.5 * plan.learns * share
    pictures = sum(prompt.role == "unrelated" for prompt in (plan.prompts or prompts())) * len(plan.seeds)
    return Evaluation(
        held_out={track: values.tolist() for track, values in held_out.items()},
        held_out_shuffled={track: values.tolist() for track, values in shuffled.items()} if plan.held_out else {},
        train_subset={plan.captions: train.tolist()},
        leakage=(plan.leaks * share + noise.normal(0, 0.004, pictures)).clip(0).tolist(),
    )


def _grid(folder: Path, name: str, rows: int, columns: int, plan: Plan, share: float) -> Grid:
    """Tiles that can be told apart by eye: a hue a prompt, a shape a seed, an outline that grows with training."""
    px = plan.tile_px
    image = Image.new("RGB", (columns * px, rows * px), "white")
    draw = ImageDraw.Draw(image)
    tint = (len(plan.captions) * 53) % 120 if share else 0
    for row in range(rows):
        for column in range(columns):
            x, y, inset = column * px, row * px, px // 6 + column
            colour = ((row * 67 + 60) % 256, (row * 131 + 90 + tint) % 256, (row * 29 + 160) % 256)
            box = (x + inset, y + inset, x + px - inset - 1, y + px - inset - 1)
            shape = draw.ellipse if column % 2 else draw.rectangle
            shape(box, fill=colour, outline="black", width=round(share * px / 12))
    path = folder / "grids" / f"{name}.{plan.format.lower()}"
    image.save(path, plan.format)
    file = FileRef(path=f"grids/{path.name}", sha256=sha256_file(path), size_bytes=path.stat().st_size)
    return Grid(file=file, rows=rows, columns=columns, tile_px=px)
