"""How a run's images fall into steps."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """How a run's images fall into steps."""

    images: int
    images_per_step: int
    epochs: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps an epoch; the last may be short, none of its images is dropped."""
        return math.ceil(self.images / self.images_per_step)

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return self.steps_per_epoch * self.epochs

    @property
    def full_step_images(self) -> int:
        """What an image's loss is divided by: the images of a full step, so that all images count alike."""
        return min(self.images, self.images_per_step)
