"""Two image distances: a perceptual hash, which finds copies, and features, which find similar images.

Shapes: N, M images, H and W pixels, D features. Equal images have distance 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel

from schemas.errors import AmatlError, BadOption, NotFound
from trainer_client.models import Family, hub

HASH_SIDE_PX, HASH_WAVES = 32, 8
POOLED_SIDE = 16  # Latent rows and columns: finer detail is texture.

Features = Callable[[Tensor], Tensor]  # uint8 images (N, H, W, 3) -> float32 (N, D)


class NoFeatures(AmatlError):
    """The feature model can't be used. Give an image encoder of transformers, or leave out --features."""


def perceptual_hashes(pictures_NHWC: Tensor) -> Tensor:
    """Return bool (N, 64): which of the 64 lowest DCT coefficients exceed their median (pHash, Zauner 2010)."""
    luma = torch.tensor([0.299, 0.587, 0.114])
    grey_N1HW = (pictures_NHWC.float() @ luma)[:, None]
    small_NHW = torch.nn.functional.interpolate(
        grey_N1HW, (HASH_SIDE_PX, HASH_SIDE_PX), mode="bilinear", antialias=True, align_corners=False
    )[:, 0]
    waves = _cosine_waves()
    slow_NK = (waves @ small_NHW @ waves.T).flatten(1)
    median_N1 = slow_NK[:, 1:].median(dim=1, keepdim=True).values  # Without the mean brightness.
    return slow_NK > median_N1


def _cosine_waves() -> Tensor:
    """Return the lowest basis vectors of the type II DCT, (HASH_WAVES, HASH_SIDE_PX)."""
    place = (torch.arange(HASH_SIDE_PX) + 0.5) / HASH_SIDE_PX
    return torch.cos(math.pi * torch.arange(HASH_WAVES)[:, None] * place)


def hash_distances(one_NK: Tensor, other_MK: Tensor) -> Tensor:
    """Return the number of differing bits of 64, (N, M)."""
    one, other = one_NK.float(), other_MK.float()
    return one @ (1 - other).T + (1 - one) @ other.T


def feature_distances(one_ND: Tensor, other_MD: Tensor) -> Tensor:
    """Return 1 - cosine, (N, M): 0 same direction, 1 unrelated, 2 opposite."""
    normalise = torch.nn.functional.normalize
    return (1 - normalise(one_ND, dim=1) @ normalise(other_MD, dim=1).T).clamp_min(0)


def autoencoder_features(family: Family) -> Features:
    """Return the base's own latents, pooled to at most 16 x 16."""

    @torch.no_grad()
    def features(pictures_NHWC: Tensor) -> Tensor:
        pixels_NCHW = pictures_NHWC.to(family.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        mean_NCHW, _ = family.encode_images(pixels_NCHW)
        side = min(POOLED_SIDE, mean_NCHW.shape[-1])
        return torch.nn.functional.adaptive_avg_pool2d(mean_NCHW.float(), side).flatten(1).cpu()

    return features


def model_features(name: str, device: torch.device) -> Features:
    """Load an image encoder of transformers (CLIP, SigLIP, DINOv2, ViT ...) by folder or hub name.

    Raises NotFound (no such model), NoFeatures (not an image encoder).
    """
    unasked = None if Path(name).is_dir() else hub.ask_or_cached("--features", name, "config.json")

    where: dict[str, Any] = {"local_files_only": unasked is not None}
    try:
        processor: Any = AutoImageProcessor.from_pretrained(name, **where)
        model: Any = AutoModel.from_pretrained(name, dtype=torch.float32, **where).to(device).eval()
    except OSError as error:
        raise unasked or NotFound(f"--features {name}: can't be loaded ({_first(error)}).") from error
    except (ValueError, ImportError) as error:
        raise NoFeatures(f"--features {name}: not a usable image encoder. ({_first(error)})") from error

    @torch.no_grad()
    def features(pictures_NHWC: Tensor) -> Tensor:
        pixels = processor(images=list(pictures_NHWC.numpy()), return_tensors="pt")["pixel_values"].to(device)
        if hasattr(model, "get_image_features"):
            found = model.get_image_features(pixel_values=pixels)
        else:
            found = model(pixel_values=pixels)
        embedding = found if isinstance(found, Tensor) else getattr(found, "pooler_output", None)
        if embedding is None:
            raise NoFeatures(f"--features {name}: {type(model).__name__} gives no image embedding. Try CLIP.")
        return embedding.flatten(1).float().cpu()

    return features


def _first(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def check_side(side_px: int) -> None:
    """Raise BadOption if images are too small to compare."""
    if side_px < HASH_WAVES:
        raise BadOption(f"Samples of {side_px} px are too small to compare. Train at a higher --resolution.")
