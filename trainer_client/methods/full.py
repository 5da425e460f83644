"""Full finetuning of the denoiser and, if asked, of the text encoders.

A checkpoint is a whole model for `from_pretrained`; untrained parts are links to epoch 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from trainer_client.config import TrainConfig
from trainer_client.config.methods import MethodOptions
from trainer_client.methods import unfreeze
from trainer_client.models import Family


class Full:
    name = "full"

    def __init__(self, family: Family, options: MethodOptions) -> None:
        modules = family.modules if options.trains_text_encoder else {"denoiser": family.denoiser}
        self.family, self.trained = family, tuple(modules)
        self.parameters = unfreeze(family, modules)
        self.encodes_text_each_step = options.trains_text_encoder
        self.start: dict[str, str] = {}

    def numbers_saved(self, first: bool) -> int:
        trained = sum(weight.numel() for weight in self.parameters.values())
        return self.family.weights if first else trained

    def save(self, folder: Path, dtype: torch.dtype, metadata: Mapping[str, str], first: Path | None) -> None:
        self.family.save(folder, dtype, metadata, unchanged_from=first, trained=self.trained)


def begin(family: Family, config: TrainConfig) -> Full:
    return Full(family, config.method)
