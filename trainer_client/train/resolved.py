"""A run's options with every default filled in that depends on the snapshot, the base model or the machine."""

from __future__ import annotations

from trainer_client.config import TrainConfig
from trainer_client.data.plan import Plan
from trainer_client.data.training_track import TrainingTrack
from trainer_client.models import Family
from trainer_client.train.schedule import warmup_steps

PRECISION = {"torch.bfloat16": "bf16", "torch.float32": "fp32"}
OPEN = ("precision", "resolution", "zero_terminal_snr", "clip_skip", "max_tokens")  # Known when the model is loaded.


def with_snapshot(config: TrainConfig, track: TrainingTrack, plan: Plan) -> TrainConfig:
    """Fill in what the snapshot decides: track, epochs to save, warm-up."""
    return config.updated(
        captions=track.captions,
        save_epochs=config.schedule.checkpoint_epochs(),
        warmup_steps=warmup_steps(config.schedule, plan),
    )


def with_model(config: TrainConfig, family: Family) -> TrainConfig:
    """Fill in what the loaded model decides: resolution, device, precision and how the model is used."""
    conventions = family.conventions
    unusual = conventions.non_defaults()
    return config.updated(
        resolution=family.resolution_px,
        device=str(family.device),
        precision=PRECISION[str(family.dtype)],
        zero_terminal_snr=conventions.zero_terminal_snr,
        clip_skip=unusual.get("clip_skip"),
        max_tokens=unusual.get("max_tokens"),
    )
