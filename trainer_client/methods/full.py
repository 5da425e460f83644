"""Full finetuning: every weight of the denoiser, and of the text encoders where asked for.

A checkpoint is a whole model that `from_pretrained` loads; what isn't trained is linked to epoch 0's files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from trainer_client.config import TrainConfig
from trainer_client.config.methods import MethodOptions
from trainer_client.methods import freed
from trainer_client.models import Family


class Full:
    """`trainer_client.methods.Method`; see there what each member promises."""

    name = "full"

    def __init__(self, family: Family, options: MethodOptions) -> None:
        modules = family.modules if options.trains_text_encoder else {"denoiser": family.denoiser}
        self.family, self.trained = family, tuple(modules)
        self.parameters = freed(family, modules)
        self.encodes_text = options.trains_text_encoder
        self.start: dict[str, str] = {}

    def numbers_saved(self, first: bool) -> int:
        trained = sum(weight.numel() for weight in self.parameters.values())
        return self.family.weights if first else trained

    def save(self, folder: Path, dtype: torch.dtype, metadata: Mapping[str, str], first: Path | None) -> None:
        self.family.save(folder, dtype, metadata, unchanged_from=first, trained=self.trained)


def begin(family: Family, config: TrainConfig) -> Full:
    """`trainer_client.methods.begin` for this method."""
    return Full(family, config.method)
