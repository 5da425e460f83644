"""Train the autoencoder: 64 px pictures to 16x16 latents and back.

Loss: absolute and squared error, the absolute error of horizontal and vertical differences at two scales (edges are
what a drawing is made of), a small KL term, and a term that asks half-size latents to decode to the half-size
picture, which makes latents smoother and easier for a diffusion model (Kouzelis et al. 2025, EQ-VAE). No adversary,
no pretrained features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from architecture import LATENT_PX
from augment import augmented
from optimiser import FlatAdamW, captured, train_for

if TYPE_CHECKING:
    from collections.abc import Callable

PEAK_LEARNING_RATE = 1e-3
KL_WEIGHT = 2e-4
HALF_SIZE_WEIGHT = 0.15


def to_model(images_BHWC: torch.Tensor) -> torch.Tensor:
    """uint8 (B,H,W,3) to float (B,3,H,W) in -1..1."""
    return images_BHWC.permute(0, 3, 1, 2).float() / 127.5 - 1


def edge_loss(output_BCHW: torch.Tensor, target_BCHW: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of neighbouring-pixel differences, full and half size."""
    total = torch.zeros((), device=output_BCHW.device)
    error = output_BCHW - target_BCHW
    for _ in range(2):
        total = total + error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        error = F.avg_pool2d(error, 2)
    return total


def reconstruction_loss(output_BCHW: torch.Tensor, target_BCHW: torch.Tensor) -> torch.Tensor:
    """What a decoded picture is judged by."""
    error = output_BCHW - target_BCHW
    return error.abs().mean() + 2 * error.square().mean() + 0.5 * edge_loss(output_BCHW, target_BCHW)


def loss_of(vae: Any, pixels_BCHW: torch.Tensor, noise_BCHW: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The whole loss of one batch; the noise has the latents' shape."""
    posterior = vae.encode(pixels_BCHW.to(dtype)).latent_dist
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    latents = mean + (0.5 * logvar).exp() * noise_BCHW
    output = vae.decode(latents.to(dtype)).sample.float()
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    quarter = max(1, len(pixels_BCHW) // 4)
    half_output = vae.decode(F.avg_pool2d(latents[:quarter], 2).to(dtype)).sample.float()
    half = reconstruction_loss(half_output, F.avg_pool2d(pixels_BCHW[:quarter], 2))
    total: torch.Tensor = reconstruction_loss(output, pixels_BCHW) + KL_WEIGHT * kl + HALF_SIZE_WEIGHT * half
    return total


def train(
    vae: Any,
    images_NHWC: torch.Tensor,
    seconds: float,
    batch: int,
    dtype: torch.dtype,
    log: Callable[[str], None],
) -> int:
    """Train in place on uint8 pictures that lie on the device; ends with averaged fp32 weights. Returns the steps."""
    device = str(images_NHWC.device)
    optimiser = FlatAdamW([vae], dtype, weight_decay=1e-3)
    running = torch.zeros((), device=device)
    vae.train()

    def step() -> None:
        chosen = torch.randint(len(images_NHWC), (batch,), device=device)
        with torch.no_grad():
            ink = augmented((1 - to_model(images_NHWC[chosen])) / 2)
            noise = torch.randn(batch, vae.config.latent_channels, LATENT_PX, LATENT_PX, device=device)
        optimiser.zero_grad()
        loss = loss_of(vae, 1 - 2 * ink, noise, dtype)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.update()
        running.lerp_(loss.detach(), 0.02)

    def report(steps: int, done: float) -> None:
        log(f"autoencoder {done:4.0%} step {steps} loss {running.item():.4f}")

    steps = train_for(seconds, optimiser, captured(step, device), PEAK_LEARNING_RATE, report, device)
    optimiser.use_average()
    vae.eval()
    return steps


@torch.no_grad()
def normalise_latents(vae: Any, images_NHWC: torch.Tensor) -> None:
    """Fold each latent channel's mean and deviation into the 1x1 convolutions round the latents.

    Afterwards every channel has mean 0 and variance 1, so `scaling_factor` is 1 with no approximation.
    """
    means = torch.cat([vae.encode(to_model(part)).latent_dist.mean for part in torch.split(images_NHWC, 256)])
    mean, deviation = means.mean((0, 2, 3)), means.std((0, 2, 3))
    channels = len(mean)
    into, out = vae.quant_conv, vae.post_quant_conv
    out.bias.data = out.bias.data + out.weight.data[:, :, 0, 0] @ mean
    out.weight.data = out.weight.data * deviation[None, :, None, None]
    weight, bias = into.weight.data.clone(), into.bias.data.clone()
    weight[:channels] /= deviation[:, None, None, None]
    bias[:channels] = (bias[:channels] - mean) / deviation
    bias[channels:] -= 2 * deviation.log()
    into.weight.data, into.bias.data = weight, bias


@torch.no_grad()
def psnr(vae: Any, images_NHWC: torch.Tensor) -> tuple[float, float]:
    """(mean over pictures of their PSNR, PSNR of the mean squared error), in dB, decoding the latents' mean."""
    errors = []
    for part in torch.split(images_NHWC, 128):
        pixels = to_model(part)
        output = vae.decode(vae.encode(pixels).latent_dist.mean).sample.clamp(-1, 1)
        errors.append(((output - pixels) / 2).square().mean((1, 2, 3)))
    error = torch.cat(errors).double()
    return float(-10 * error.log10().mean()), float(-10 * error.mean().log10())
