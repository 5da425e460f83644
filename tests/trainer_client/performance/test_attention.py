"""Attention written out gives what the fused one does, where heads are wide."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor

from trainer_client.models import load_family
from trainer_client.performance.attention import WIDEST_HEAD, use_unfused_attention


def test_attention_written_out_encodes_the_same(base: Path) -> None:
    family: Any = load_family(str(base))
    own, other = family.vae.encoder, copy.deepcopy(family.vae.encoder)
    attention = other.mid_block.attentions[0]
    width = attention.inner_dim // attention.heads
    use_unfused_attention(other, wider_than=width)
    assert not isinstance(attention.processor, AttnProcessor)
    use_unfused_attention(other, wider_than=width - 1)
    assert isinstance(attention.processor, AttnProcessor)
    pixels = torch.rand(2, 3, 32, 48) * 2 - 1
    torch.testing.assert_close(other(pixels), own(pixels), rtol=1e-4, atol=1e-5)


def test_the_autoencoders_of_stable_diffusion_have_wide_heads_and_its_denoisers_none() -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel

    with torch.device("meta"):
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
        )
        unet = UNet2DConditionModel(cross_attention_dim=768)
    use_unfused_attention(vae)
    use_unfused_attention(unet)
    assert [isinstance(one, AttnProcessor) for one in vae.attn_processors.values()] == [True, True]
    assert not any(isinstance(one, AttnProcessor) for one in unet.attn_processors.values())
    assert WIDEST_HEAD < 512
