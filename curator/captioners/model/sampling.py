"""Sampling as a pure function of (seed, image, step), so that batching changes no caption.

Shapes: B images, V vocabulary.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def uniform(seed: int, image_sha256: str, step: int) -> float:
    """Return a number in [0, 1) from 53 bits of a hash, the same on every device."""
    word = int.from_bytes(sha256(f"{seed}/{image_sha256}/{step}".encode()).digest()[:8])
    return (word >> 11) / (1 << 53)


def sample_nucleus(scores_BV: Tensor, top_p: float, uniforms_B: Tensor) -> Tensor:
    """Sample one token a row, int64 (B, 1): nucleus sampling (Holtzman et al. 2020) by inversion.

    The nucleus is the fewest tokens, most likely first, whose probabilities reach `top_p`.
    """
    likely_BV, tokens_BV = scores_BV.softmax(-1).sort(dim=-1, descending=True, stable=True)
    cumulative_BV = likely_BV.cumsum(-1)
    size_B1 = (cumulative_BV - likely_BV < top_p).sum(-1, keepdim=True)
    mass_B1 = cumulative_BV.gather(1, size_B1 - 1)
    rank_B1 = (cumulative_BV <= uniforms_B[:, None] * mass_B1).sum(-1, keepdim=True)
    return tokens_BV.gather(1, rank_B1.minimum(size_B1 - 1))
