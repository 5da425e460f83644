"""Train UNet and text encoder together on cached latents, the whole step one CUDA graph.

Epsilon prediction on Stable Diffusion's schedule; loss weight min(SNR, 5) / SNR (Hang et al. 2023); a tenth of the
captions empty, for guidance (Ho and Salimans 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from architecture import Models, scheduler
from augment import moved
from autoencoder import to_model
from optimiser import FlatAdamW, captured, train_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from data import Record

PEAK_LEARNING_RATE = 6e-4
CAPTION_DROPOUT = 0.1
VARIANTS = 8
"""Cached versions of a picture: odd ones mirrored where allowed, the last half also moved a little."""
GROUP_WEIGHTS = {"animals-nature": 5, "food-drink": 5, "flags": 1, "people-body": 2, "symbols": 2}
"""How often a picture is drawn, others 3: many flags and people differ little and would take the capacity."""


@dataclass
class Cache:
    """Everything a step reads, on the device."""

    mean_VNCHW: torch.Tensor
    deviation_VNCHW: torch.Tensor
    tokens_NKL: torch.Tensor
    empty_L: torch.Tensor
    table: torch.Tensor
    """Picture numbers, each as often as its weight says."""


def tokenise(tokenizer: Any, texts: list[str]) -> torch.Tensor:
    """(len(texts), 77) token numbers, as the pipeline makes them."""
    encoded = tokenizer(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    numbers: torch.Tensor = encoded.input_ids
    return numbers


@torch.no_grad()
def encode_variants(
    vae: Any, images_NHWC: torch.Tensor, flippable: torch.Tensor, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latent means and deviations (V,N,C,16,16) of all variants."""
    means, deviations = [], []
    for variant in range(VARIANTS):
        for part, mirror in zip(torch.split(images_NHWC, 256), torch.split(flippable, 256), strict=True):
            ink = (1 - to_model(part)) / 2
            mirrored = mirror & (variant % 2 == 1)
            if variant >= VARIANTS // 2:
                ink = moved(ink, 0.82, 1.0, 0.06, 4, mirrored)
            else:
                ink = torch.where(mirrored[:, None, None, None], ink.flip(3), ink)
            posterior = vae.encode(1 - 2 * ink).latent_dist
            means.append(posterior.mean.to(dtype))
            deviations.append(posterior.std.to(dtype))
    shape = (VARIANTS, len(images_NHWC), *means[0].shape[1:])
    return torch.cat(means).view(shape), torch.cat(deviations).view(shape)


def build_cache(
    vae: Any,
    tokenizer: Any,
    images_NHWC: torch.Tensor,
    records: list[Record],
    tokens_NKL: torch.Tensor,
    dtype: torch.dtype,
) -> Cache:
    """Encode the pictures once; token numbers are padded to the model's 77."""
    device = images_NHWC.device
    flippable = torch.tensor([r.flippable for r in records], device=device)
    mean, deviation = encode_variants(vae, images_NHWC, flippable, dtype)
    padding = (0, 77 - tokens_NKL.shape[2])
    weighted = [i for i, r in enumerate(records) for _ in range(GROUP_WEIGHTS.get(r.group, 3))]
    return Cache(
        mean_VNCHW=mean,
        deviation_VNCHW=deviation,
        tokens_NKL=torch.nn.functional.pad(tokens_NKL.to(device), padding, value=tokenizer.pad_token_id),
        empty_L=tokenise(tokenizer, [""])[0].to(device),
        table=torch.tensor(weighted, device=device),
    )


def draw_batch(cache: Cache, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random latents (B,C,16,16), fp32, and the token numbers (B,77) of one caption each."""
    device = cache.table.device
    chosen = cache.table[torch.randint(len(cache.table), (batch,), device=device)]
    variant = torch.randint(VARIANTS, (batch,), device=device)
    mean, deviation = cache.mean_VNCHW[variant, chosen].float(), cache.deviation_VNCHW[variant, chosen].float()
    draw = torch.randint(cache.tokens_NKL.shape[1], (batch,), device=device)
    drop = torch.rand(batch, 1, device=device) < CAPTION_DROPOUT
    tokens = torch.where(drop, cache.empty_L, cache.tokens_NKL[chosen, draw])
    return mean + deviation * torch.randn_like(mean), tokens


def weighted_loss(
    text_encoder: Any,
    unet: Any,
    noisy: torch.Tensor,
    t: torch.Tensor,
    tokens: torch.Tensor,
    noise: torch.Tensor,
    weight: torch.Tensor,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Weighted mean squared error of the predicted noise."""
    hidden = text_encoder(tokens).last_hidden_state
    predicted = unet(noisy.to(dtype), t, hidden).sample.float()
    loss: torch.Tensor = ((predicted - noise).square().mean((1, 2, 3)) * weight).mean()
    return loss


def train(
    models: Models,
    cache: Cache,
    seconds: float,
    batch: int,
    dtype: torch.dtype,
    log: Callable[[str], None],
    probe: Callable[[], str] = str,
) -> int:
    """Train in place; ends with averaged fp32 weights. Returns the steps. `probe` adds to each line of the log."""
    device = str(cache.table.device)
    optimiser = FlatAdamW([models.unet, models.text_encoder], dtype, ema_decay=0.9995)
    alphas = scheduler().alphas_cumprod.to(device)
    steps_T = len(alphas)
    signal, spread = alphas.sqrt(), (1 - alphas).sqrt()
    weights = (5 * (1 - alphas) / alphas).clamp(max=1)
    running = torch.zeros((), device=device)
    models.unet.train()
    models.text_encoder.train()

    def step() -> None:
        latents, tokens = draw_batch(cache, batch)
        # Evenly spread over the schedule: the loss depends more on the timestep than on the picture.
        t = ((torch.arange(batch, device=device) + torch.rand(batch, device=device)) / batch * steps_T).long()
        t = t.clamp(max=steps_T - 1)
        noise = torch.randn_like(latents)
        noisy = signal[t, None, None, None] * latents + spread[t, None, None, None] * noise
        optimiser.zero_grad()
        loss = weighted_loss(models.text_encoder, models.unet, noisy, t, tokens, noise, weights[t], dtype)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.update()
        running.lerp_(loss.detach(), 0.01)

    def report(steps: int, done: float) -> None:
        log(f"diffusion {done:4.0%} step {steps} loss {running.item():.4f} {probe()}")

    steps = train_for(seconds, optimiser, captured(step, device), PEAK_LEARNING_RATE, report, device)
    optimiser.use_average()
    models.unet.eval()
    models.text_encoder.eval()
    return steps
