"""Random changes to pictures, so that the autoencoder also serves drawing styles it has never seen.

All draws come from the device's default generator with fixed shapes, so the functions can be captured in a CUDA graph.
Pictures are held as ink: 1 - value, so that white is 0 and the padding of every shift is white.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F

PERMUTATIONS = list(itertools.permutations(range(3)))


def chance(ink_BCHW: torch.Tensor, probability: float) -> torch.Tensor:
    """A (B,1,1,1) mask that is true with the given probability."""
    return torch.rand(len(ink_BCHW), 1, 1, 1, device=ink_BCHW.device) < probability


def moved(
    ink_BCHW: torch.Tensor, smallest: float, largest: float, shift: float, degrees: float, mirror: torch.Tensor
) -> torch.Tensor:
    """Scaled, shifted (in half pictures), turned; mirrored where the (B,) mask says so."""
    size, device = len(ink_BCHW), ink_BCHW.device
    scale = torch.rand(size, device=device) * (largest - smallest) + smallest
    angle = (torch.rand(size, device=device) * 2 - 1) * degrees * torch.pi / 180
    offset = (torch.rand(size, 2, device=device) * 2 - 1) * shift
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    sign = torch.where(mirror, -1.0, 1.0)
    rows = [torch.stack([cos * sign, -sin, offset[:, 0]], 1), torch.stack([sin * sign, cos, offset[:, 1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(ink_BCHW.shape), align_corners=False)
    return F.grid_sample(ink_BCHW, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def edges(ink_BCHW: torch.Tensor) -> torch.Tensor:
    """Where colours meet, as ink of lines: (B,1,H,W)."""
    highest = F.max_pool2d(ink_BCHW, 3, 1, 1)
    lowest = -F.max_pool2d(-ink_BCHW, 3, 1, 1)
    return ((highest - lowest).amax(1, keepdim=True) * 3 - 0.4).clamp(0, 1)


def outlined(ink_BCHW: torch.Tensor) -> torch.Tensor:
    """Black lines along every edge between colours, as in a comic."""
    return ink_BCHW + (1 - ink_BCHW) * edges(ink_BCHW)


def recoloured(ink_BCHW: torch.Tensor) -> torch.Tensor:
    """Channels swapped and ink made stronger or weaker."""
    size, device = len(ink_BCHW), ink_BCHW.device
    # Built from a range: a constant list would be copied from the host, which a graph can't capture.
    table = permutation_table(device)
    order = table[torch.randint(len(PERMUTATIONS), (size,), device=device)]
    swapped = ink_BCHW.gather(1, order[:, :, None, None].expand_as(ink_BCHW))
    return (swapped * (torch.rand(size, 1, 1, 1, device=device) * 0.8 + 0.5)).clamp(0, 1)


_TABLES: dict[torch.device, torch.Tensor] = {}


def permutation_table(device: torch.device) -> torch.Tensor:
    """The six orders of three channels, (6,3), kept on the device."""
    if device not in _TABLES:
        _TABLES[device] = torch.tensor(PERMUTATIONS, device=device)
    return _TABLES[device]


def augmented(ink_BCHW: torch.Tensor) -> torch.Tensor:
    """The autoencoder's mixture; a good part of the pictures stays as it is."""
    mirror = torch.rand(len(ink_BCHW), device=ink_BCHW.device) < 0.5
    ink = torch.where(chance(ink_BCHW, 0.5), moved(ink_BCHW, 0.6, 1.15, 0.15, 15, mirror), ink_BCHW)
    ink = torch.where(chance(ink, 0.4), recoloured(ink), ink)
    ink = torch.where(chance(ink, 0.35), outlined(ink), ink)
    return torch.where(chance(ink, 0.05), 1 - ink, ink)
