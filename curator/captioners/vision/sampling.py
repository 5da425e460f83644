"""Sampling inside transformers' `generate`, keyed by the image (see curator.captioners.model.sampling).

`generate` decodes greedily. The last processor of the scores samples a token and forbids all others, so the model's own
penalties apply, and no random state is shared.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from curator.captioners.model.sampling import sample_nucleus, uniform


class NucleusSampler:
    """A logits processor that forbids all tokens but one sampled from the nucleus."""

    def __init__(self, seed: int, sha256s: Sequence[str], temperature: float, top_p: float) -> None:
        self.seed, self.sha256s, self.temperature, self.top_p = seed, sha256s, temperature, top_p
        self.step = 0

    def __call__(self, input_ids_BL: Tensor, scores_BV: Tensor) -> Tensor:
        uniforms = [uniform(self.seed, image, self.step) for image in self.sha256s]
        self.step += 1
        uniforms_B = torch.tensor(uniforms, dtype=torch.float32, device=scores_BV.device)
        tokens_B1 = sample_nucleus(scores_BV.float() / self.temperature, self.top_p, uniforms_B)
        return torch.full_like(scores_BV, -torch.inf).scatter_(1, tokens_B1, 0.0)


class Overflow:
    """A logits processor that records at the first step which rows have NaN (float16 ends at 65,504)."""

    def __init__(self) -> None:
        self.rows: list[bool] = []

    def __call__(self, input_ids_BL: Tensor, scores_BV: Tensor) -> Tensor:
        if not self.rows:
            self.rows = scores_BV.isnan().any(-1).tolist()
        return scores_BV
