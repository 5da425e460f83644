"""Sampling inside transformers' `generate`, keyed by the image (see curator.captioners.model.sampling).

`generate` decodes greedily; the draw happens here, as the last thing done to the scores: every token but the one drawn
is forbidden. So penalties of the model's own stay as they are, and no random state is shared.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from curator.captioners.model.sampling import draw, uniform


class Draws:
    """Called by `generate` at each step: forbids all tokens but one drawn from the nucleus."""

    def __init__(self, seed: int, sha256s: Sequence[str], temperature: float, top_p: float) -> None:
        self.seed, self.sha256s, self.temperature, self.top_p = seed, sha256s, temperature, top_p
        self.step = 0

    def __call__(self, input_ids_BL: Tensor, scores_BV: Tensor) -> Tensor:
        numbers = [uniform(self.seed, image, self.step) for image in self.sha256s]
        self.step += 1
        numbers_B = torch.tensor(numbers, dtype=torch.float32, device=scores_BV.device)
        drawn_B1 = draw(scores_BV.float() / self.temperature, self.top_p, numbers_B)
        return torch.full_like(scores_BV, -torch.inf).scatter_(1, drawn_B1, 0.0)


class Overflow:
    """Called by `generate` at each step: notes at the first which rows aren't numbers (float16 ends at 65,504)."""

    def __init__(self) -> None:
        self.rows: list[bool] = []

    def __call__(self, input_ids_BL: Tensor, scores_BV: Tensor) -> Tensor:
        if not self.rows:
            self.rows = scores_BV.isnan().any(-1).tolist()
        return scores_BV
