"""Pictures changed at random towards drawing styles that the mini BLIP has never seen.

OpenMoji, which it is judged on, has flat colours inside black lines; so some pictures are flattened and outlined.
Its own drawings are never used. Pictures are held as ink (1 - value), as in `augment.py`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from augment import chance, edges, moved


def variants(ink_BCHW: torch.Tensor) -> torch.Tensor:
    """What is drawn from again and again, made once: the picture, the picture in flat tones, its lines, (B,7,H,W).

    Lines come from the smooth picture: flat tones have edges of their own, where nobody would draw.
    """
    return torch.cat([ink_BCHW, flattened(ink_BCHW), edges(ink_BCHW)], 1)


def flattened(ink_BCHW: torch.Tensor) -> torch.Tensor:
    """Soft shading turned into few flat tones."""
    tones = 3.0
    return (F.avg_pool2d(ink_BCHW, 3, 1, 1) * tones).round() / tones


def recoloured(ink_BCHW: torch.Tensor) -> torch.Tensor:
    """Saturation and strength changed, hues nearly kept: colours must go on fitting the names."""
    size, device = len(ink_BCHW), ink_BCHW.device
    grey = ink_BCHW.mean(1, keepdim=True)
    saturation = torch.rand(size, 1, 1, 1, device=device) * 1.2 + 0.5
    strength = torch.rand(size, 1, 1, 1, device=device) * 0.7 + 0.6
    tint = torch.rand(size, 3, 1, 1, device=device) * 0.12 + 0.94
    return ((grey + (ink_BCHW - grey) * saturation) * strength * tint).clamp(0, 1)


def augmented(variants_BCHW: torch.Tensor, flippable_B: torch.Tensor, vary: float = 1) -> torch.Tensor:
    """The mixture, (B,3,H,W), of what `variants` made; mirrored only where the (B,) mask allows it.

    `vary` scales how far pictures are moved, turned and made smaller.
    """
    smooth, flat, line = variants_BCHW.split([3, 3, 1], 1)
    mirror = flippable_B & (torch.rand(len(smooth), device=smooth.device) < 0.5)
    both = torch.cat([torch.where(chance(smooth, 0.3), flat, smooth), line * chance(line, 0.5)], 1)
    ink, line = moved(both, 1 - 0.25 * vary, 1 + 0.08 * vary, 0.08 * vary, 8 * vary, mirror).split([3, 1], 1)
    ink = torch.where(chance(ink, 0.6), recoloured(ink), ink)
    ink = torch.where(chance(ink, 0.05), ink.mean(1, keepdim=True).expand_as(ink), ink)
    # Outlines filled with next to nothing, as OpenMoji's white things are.
    ink = torch.where((line.amax((1, 2, 3), keepdim=True) > 0) & chance(ink, 0.15), ink * 0.1, ink)
    return ink + (1 - ink) * line
