"""Sampling that is a pure function of (seed, image, step): neighbours, their number and their order don't matter.

`generate` decodes greedily; the draw happens here, as the last thing done to the scores: every token but the one drawn
is forbidden. So penalties of the model's own stay as they are, and no random state is shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import torch
from torch import Tensor


def uniform(seed: int, image_sha256: str, step: int) -> float:
    """A number in [0, 1), the same on every device: 53 bits of a hash."""
    word = int.from_bytes(sha256(f"{seed}/{image_sha256}/{step}".encode()).digest()[:8])
    return (word >> 11) / (1 << 53)


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


def draw(scores_BV: Tensor, top_p: float, numbers_B: Tensor) -> Tensor:
    """One token a row, int64 (B, 1): nucleus sampling (Holtzman et al. 2020) by inversion.

    The nucleus is the fewest tokens, most likely first, whose probabilities reach `top_p`.
    """
    likely_BV, tokens_BV = scores_BV.softmax(-1).sort(dim=-1, descending=True, stable=True)
    up_to_BV = likely_BV.cumsum(-1)
    size_B1 = (up_to_BV - likely_BV < top_p).sum(-1, keepdim=True)
    mass_B1 = up_to_BV.gather(1, size_B1 - 1)
    place_B1 = (up_to_BV <= numbers_B[:, None] * mass_B1).sum(-1, keepdim=True)
    return tokens_BV.gather(1, torch.minimum(place_B1, size_B1 - 1))


class Overflow:
    """Called by `generate` at each step: notes at the first which rows aren't numbers any more (float16 passes 65,504)."""

    def __init__(self) -> None:
        self.rows: list[bool] = []

    def __call__(self, input_ids_BL: Tensor, scores_BV: Tensor) -> Tensor:
        if not self.rows:
            self.rows = scores_BV.isnan().any(-1).tolist()
        return scores_BV
