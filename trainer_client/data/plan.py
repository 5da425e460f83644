"""The steps of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    images: int
    images_per_step: int
    epochs: int

    @property
    def steps_per_epoch(self) -> int:
        """The last step may be short; no image is dropped."""
        return math.ceil(self.images / self.images_per_step)

    @property
    def steps(self) -> int:
        return self.steps_per_epoch * self.epochs

    @property
    def full_step_images(self) -> int:
        """Every image's loss is divided by it, so that all images count equally."""
        return min(self.images, self.images_per_step)
