"""DreamBooth: full finetuning on a few images under one prompt, with class images sampled from the base.

Class images keep the model from forgetting (prior preservation); see `trainer_client.train.class_images`. LoRA has the
same options.

Source: Ruiz et al., "DreamBooth: fine tuning text-to-image diffusion models for subject-driven generation" (2023).
"""

from __future__ import annotations

from trainer_client.config import TrainConfig
from trainer_client.methods.full import Full
from trainer_client.models import Family


class DreamBooth(Full):
    """Full finetuning on different data; `Method` documents each member."""

    name = "dreambooth"


def begin(family: Family, config: TrainConfig) -> DreamBooth:
    return DreamBooth(family, config.method)
