"""Replacement layers that keep channels last and compile well.

cuDNN's bfloat16 convolutions need channels last. On a GPU torch's group norm returns channels first, and so do two
layers of diffusers, so every convolution begins and ends with a copy: a tenth of a train step of Stable Diffusion 1.5.

Shapes: B images, C channels, H and W rows and columns, G groups, S = C / G channels of a group.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from diffusers.models.activations import GEGLU
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn


class GroupNorm(nn.GroupNorm):
    """Group norm (Wu and He 2018) from each channel's mean and variance."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, ...) in x's layout."""
        batch, channels, groups = len(x), self.num_channels, self.num_groups
        ones = (1,) * (x.ndim - 2)
        variance_BC, mean_BC = torch.var_mean(x.float(), dim=tuple(range(2, x.ndim)), correction=0)
        mean_BGS = mean_BC.view(batch, groups, -1)
        mean_BG1 = mean_BGS.mean(dim=2, keepdim=True)
        variance_BGS = variance_BC.view(batch, groups, -1) + (mean_BGS - mean_BG1).square()
        scale_BGS = torch.rsqrt(variance_BGS.mean(dim=2, keepdim=True) + self.eps)
        if self.affine:
            scale_BGS = scale_BGS * self.weight.float().view(1, groups, -1)
        shift_BGS = -mean_BG1 * scale_BGS
        if self.affine:
            shift_BGS = shift_BGS + self.bias.float().view(1, groups, -1)
        scale = scale_BGS.expand(-1, -1, channels // groups).reshape(batch, channels, *ones)
        shift = shift_BGS.expand(-1, -1, channels // groups).reshape(batch, channels, *ones)
        return (x.float() * scale + shift).to(x.dtype)


def convert(module: nn.Module) -> None:
    """Replace layers and convert weights to channels last; names and values stay."""
    replacements = _replacements()
    for layer in module.modules():
        kind = replacements.get(type(layer))
        if kind is not None:
            layer.__class__ = kind
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@cache
def _replacements() -> dict[type, type]:
    class Transformer(Transformer2DModel):  # type: ignore[misc]
        """Returns its output as a view."""

        def _get_output_for_continuous_inputs(
            self, hidden_states: Tensor, residual: Tensor, batch_size: int, height: int, width: int, inner_dim: int
        ) -> Tensor:
            if self.use_linear_projection:
                hidden_states = self.proj_out(hidden_states)
            x_BCHW = hidden_states.reshape(batch_size, height, width, inner_dim).permute(0, 3, 1, 2)
            return residual + (x_BCHW if self.use_linear_projection else self.proj_out(x_BCHW))

    class Upsample(Upsample2D):  # type: ignore[misc]
        """Doubles rows and columns, keeping the layout."""

        def forward(self, hidden_states: Tensor, output_size: Any = None, *args: Any, **kwargs: Any) -> Tensor:
            batch, channels, height, width = hidden_states.shape
            doubled = output_size is None or tuple(output_size) == (2 * height, 2 * width)
            if not doubled or self.norm is not None or self.use_conv_transpose or not self.interpolate:
                upsampled: Tensor = super().forward(hidden_states, output_size, *args, **kwargs)
                return upsampled
            x_BH1W1C = hidden_states.permute(0, 2, 3, 1)[:, :, None, :, None, :]
            x_BHWC = x_BH1W1C.expand(-1, -1, 2, -1, 2, -1).reshape(batch, 2 * height, 2 * width, channels)
            x_BCHW = x_BHWC.permute(0, 3, 1, 2)
            if not self.use_conv:
                return x_BCHW
            convolved: Tensor = (self.conv if self.name == "conv" else self.Conv2d_0)(x_BCHW)
            return convolved

    class Gated(GEGLU):  # type: ignore[misc]
        """Computes value and gate separately: no copy of their gradients."""

        def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            proj, (x_BTD, width) = self.proj, (hidden_states, self.proj.out_features // 2)
            if type(proj) is not nn.Linear:  # Wrapped by LoRA layers.
                gated: Tensor = super().forward(hidden_states, *args, **kwargs)
                return gated
            value, gate = (
                nn.functional.linear(x_BTD, proj.weight[half], None if proj.bias is None else proj.bias[half])
                for half in (slice(None, width), slice(width, None))
            )
            return value * nn.functional.gelu(gate)

    return {nn.GroupNorm: GroupNorm, Transformer2DModel: Transformer, Upsample2D: Upsample, GEGLU: Gated}
