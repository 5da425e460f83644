"""The noise schedule: noising, training targets, sampling.

Sources: Ho et al., "Denoising diffusion probabilistic models" (2020), epsilon; Salimans and Ho, "Progressive
distillation" (2022), v; Hang et al., "Efficient diffusion training via min-SNR weighting" (2023); Lin et al., "Common
diffusion noise schedules and sample steps are flawed" (2023), zero terminal SNR; Lu et al., "DPM-Solver++" (2022).

Shapes: B images, C latent channels, H and W latent rows and columns, S train timesteps.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}  # The names in diffusers.
GUIDANCE_RESCALE = 0.7  # Share of the rescaled prediction (Lin et al. 2023).


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """Discrete timesteps on one device, for epsilon and v. Methods as in `Family`."""

    config: Mapping[str, Any]  # As in a base's `scheduler_config.json`.
    signal_S: Tensor  # sqrt(alpha bar), the factor of latents
    noise_S: Tensor  # sqrt(1 - alpha bar), the factor of noise
    snr_S: Tensor

    @property
    def prediction(self) -> str:
        return str(self.config.get("prediction_type", "epsilon"))

    def add_noise(self, latents_BCHW: Tensor, noise_BCHW: Tensor, timesteps_B: Tensor) -> Tensor:
        return (
            _at_timesteps(self.signal_S, timesteps_B) * latents_BCHW
            + _at_timesteps(self.noise_S, timesteps_B) * noise_BCHW
        )

    def target(self, latents_BCHW: Tensor, noise_BCHW: Tensor, timesteps_B: Tensor) -> Tensor:
        if self.prediction == "epsilon":
            return noise_BCHW
        return (
            _at_timesteps(self.signal_S, timesteps_B) * noise_BCHW
            - _at_timesteps(self.noise_S, timesteps_B) * latents_BCHW
        )

    def loss_weights(self, timesteps_B: Tensor, min_snr_gamma: float | None) -> Tensor:
        if min_snr_gamma is None:
            return torch.ones(len(timesteps_B), device=self.snr_S.device)
        snr_B = self.snr_S[timesteps_B]
        over_B = snr_B if self.prediction == "epsilon" else snr_B + 1
        weights_B: Tensor = snr_B.clamp(max=min_snr_gamma) / over_B.clamp(min=1e-8)
        return weights_B

    def solver(self, steps: int) -> Any:
        """Return DPM-Solver++ 2M: deterministic, good from about 15 steps."""
        scheduler = _scheduler(DPMSolverMultistepScheduler, self.config, algorithm_type="dpmsolver++", solver_order=2)
        with warnings.catch_warnings():  # diffusers converts tensors in a way that numpy deprecates.
            warnings.simplefilter("ignore", DeprecationWarning)
            # On the CPU: reading a timestep back from a GPU would stall it at each step.
            scheduler.set_timesteps(steps)
        scheduler.set_begin_index(0)
        return scheduler


def noise_schedule(config: Mapping[str, Any], device: torch.device) -> NoiseSchedule:
    """Return the schedule of a `scheduler_config.json`."""
    alphas_S = _scheduler(DDPMScheduler, config, clip_sample=False).alphas_cumprod.double()
    signal_S, noise_S = alphas_S.sqrt().float().to(device), (1 - alphas_S).sqrt().float().to(device)
    return NoiseSchedule(config, signal_S, noise_S, (alphas_S / (1 - alphas_S)).float().to(device))


def rescaled(guided_BCHW: Tensor, with_text_BCHW: Tensor) -> Tensor:
    """Rescale the guided prediction towards the standard deviation of the unguided one."""
    spread_B111 = with_text_BCHW.std(dim=(1, 2, 3), keepdim=True)
    alike_BCHW = guided_BCHW * (spread_B111 / guided_BCHW.std(dim=(1, 2, 3), keepdim=True))
    return GUIDANCE_RESCALE * alike_BCHW + (1 - GUIDANCE_RESCALE) * guided_BCHW


def _at_timesteps(table_S: Tensor, timesteps_B: Tensor) -> Tensor:
    """Return values (B, 1, 1, 1)."""
    return table_S[timesteps_B].view(-1, 1, 1, 1)


def _scheduler(kind: Any, config: Mapping[str, Any], **settings: Any) -> Any:
    """Return a diffusers scheduler with the settings that it knows."""
    known = inspect.signature(kind.__init__).parameters
    return kind(**{name: value for name, value in {**config, **settings}.items() if name in known})
