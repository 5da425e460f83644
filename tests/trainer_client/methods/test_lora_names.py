"""Names and shapes of LoRA files for the real architectures: built without weights, compared with what is known of the
files that A1111, Forge and ComfyUI load (kohya's tools report the numbers of modules when they make one)."""

from __future__ import annotations

import re
from collections import Counter
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trainer_client.methods.lora.files import diffusers_tensors, flat_tensors, layers_of
from trainer_client.methods.lora.layers import add_layers
from trainer_client.models.stable_diffusion import StableDiffusion
from trainer_client.models.stable_diffusion_xl import StableDiffusionXL, original_path

SETTINGS: dict[str, Any] = {"rank": 4, "alpha": 4.0, "targets": "transformer", "train_text_encoder": True}


def sd_15() -> Any:
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8)
        return family(StableDiffusion, unet, text_encoder=text_encoder(768, 3072, 12, 12))


def sd_21() -> Any:
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        heads = (5, 10, 20, 20)
        unet = UNet2DConditionModel(cross_attention_dim=1024, attention_head_dim=heads, use_linear_projection=True)
        return family(StableDiffusion, unet, text_encoder=text_encoder(1024, 4096, 23, 16))


def sdxl() -> Any:
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )
        encoders = {
            "text_encoder": text_encoder(768, 3072, 12, 12),
            "text_encoder_2": text_encoder(1280, 5120, 32, 20, projection_dim=1280),
        }
        return family(StableDiffusionXL, unet, **encoders)


def text_encoder(width: int, inner: int, layers: int, heads: int, **more: int) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    sizes = {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers}
    config = CLIPTextConfig(**sizes, num_attention_heads=heads, **more)
    return (CLIPTextModelWithProjection if more else CLIPTextModel)(config)


def family(kind: Any, unet: Any, **encoders: Any) -> Any:
    """What has the names of that kind's layers, and nothing to load."""
    modules = {"denoiser": unet, **encoders}
    made = SimpleNamespace(attach_points=kind.attach_points, modules=modules, denoiser=unet)
    made.flat_path = partial(kind.flat_path, made)
    return made


def names(model: Any) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """The tensors of both layouts by name, as shapes."""
    add_layers(model, SETTINGS, seed=0)
    layers = layers_of(model)
    for layer in layers.values():  # No weights to copy on this device.
        object.__setattr__(layer, "down", torch.empty(layer.down.shape, device="cpu"))
        object.__setattr__(layer, "up", torch.empty(layer.up.shape, device="cpu"))
    flat, plain = flat_tensors(model, layers, torch.float16), diffusers_tensors(model, layers, torch.float16)
    return {n: tuple(t.shape) for n, t in flat.items()}, {n: tuple(t.shape) for n, t in plain.items()}


def modules(flat: dict[str, tuple[int, ...]]) -> Counter[str]:
    return Counter(name.split("_")[1] for name in flat if name.endswith(".alpha"))


@pytest.mark.slow
def test_stable_diffusion_1_5() -> None:
    flat, plain = names(sd_15())
    assert modules(flat) == {"unet": 192, "te": 72}
    for name, down, up in (
        ("lora_unet_down_blocks_0_attentions_0_proj_in", (4, 320, 1, 1), (320, 4, 1, 1)),
        ("lora_unet_down_blocks_1_attentions_1_transformer_blocks_0_attn2_to_k", (4, 768), (640, 4)),
        ("lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_0_proj", (4, 1280), (10240, 4)),
        ("lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_attn1_to_out_0", (4, 320), (320, 4)),
        ("lora_unet_up_blocks_1_attentions_0_transformer_blocks_0_ff_net_2", (4, 5120), (1280, 4)),
        ("lora_te_text_model_encoder_layers_0_self_attn_q_proj", (4, 768), (768, 4)),
        ("lora_te_text_model_encoder_layers_11_mlp_fc2", (4, 3072), (768, 4)),
    ):
        assert (flat[f"{name}.lora_down.weight"], flat[f"{name}.lora_up.weight"]) == (down, up)
    block = "unet.up_blocks.3.attentions.2.transformer_blocks.0.attn1.to_out.0"
    assert plain[f"{block}.lora_A.weight"] == (4, 320)
    assert plain["text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_B.weight"] == (768, 4)


@pytest.mark.slow
def test_stable_diffusion_2_1() -> None:
    flat, _ = names(sd_21())
    assert modules(flat) == {"unet": 192, "te": 138}
    assert flat["lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"] == (4, 320)
    assert flat["lora_te_text_model_encoder_layers_22_self_attn_v_proj.lora_up.weight"] == (1024, 4)


@pytest.mark.slow
def test_stable_diffusion_xl() -> None:
    flat, plain = names(sdxl())
    assert modules(flat) == {"unet": 722, "te1": 72, "te2": 192}
    blocks = {match[0] for name in flat if (match := re.match(r"lora_unet_[a-z]+_blocks?_(\d+_)?1", name))}
    known = [f"input_blocks_{n}_1" for n in (4, 5, 7, 8)] + [f"output_blocks_{n}_1" for n in range(6)]
    assert blocks == {f"lora_unet_{block}" for block in [*known, "middle_block_1"]}
    for name, down in (
        ("lora_unet_input_blocks_4_1_proj_in", (4, 640)),
        ("lora_unet_input_blocks_8_1_transformer_blocks_9_attn2_to_v", (4, 2048)),
        ("lora_unet_middle_block_1_transformer_blocks_0_ff_net_0_proj", (4, 1280)),
        ("lora_unet_output_blocks_5_1_transformer_blocks_1_attn1_to_out_0", (4, 640)),
        ("lora_te1_text_model_encoder_layers_11_mlp_fc1", (4, 768)),
        ("lora_te2_text_model_encoder_layers_31_self_attn_out_proj", (4, 1280)),
    ):
        assert flat[f"{name}.lora_down.weight"] == down
    assert "text_encoder_2.text_model.encoder.layers.31.mlp.fc2.lora_A.weight" in plain


@pytest.mark.slow
@pytest.mark.parametrize("build", [sd_15, sd_21, sdxl])
def test_diffusers_finds_the_same_layers_under_both_names(build: Any) -> None:
    from diffusers import StableDiffusionXLPipeline

    model = build()
    flat, plain = names(model)
    content = {name: torch.empty(shape) for name, shape in flat.items()}
    read, alphas = StableDiffusionXLPipeline.lora_state_dict(content, unet_config=model.denoiser.config)
    assert len(read) == len(plain) == 2 * len(alphas)
    from diffusers.utils import convert_state_dict_to_peft, convert_unet_state_dict_to_peft

    unet = {name: tensor for name, tensor in read.items() if name.startswith("unet.")}
    text = {name: tensor for name, tensor in read.items() if not name.startswith("unet.")}
    found = convert_unet_state_dict_to_peft(unet) | convert_state_dict_to_peft(text)
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == plain


def test_the_originals_numbering_of_sdxl() -> None:
    for path, original in (
        ("conv_in", "input_blocks.0.0"),
        ("down_blocks.0.resnets.1.conv1", "input_blocks.2.0.in_layers.2"),
        ("down_blocks.0.downsamplers.0.conv", "input_blocks.3.0.op"),
        ("down_blocks.2.attentions.1.proj_out", "input_blocks.8.1.proj_out"),
        ("mid_block.resnets.0.time_emb_proj", "middle_block.0.emb_layers.1"),
        ("mid_block.attentions.0.proj_in", "middle_block.1.proj_in"),
        ("mid_block.resnets.1.conv2", "middle_block.2.out_layers.3"),
        ("up_blocks.1.attentions.0.proj_in", "output_blocks.3.1.proj_in"),
        ("up_blocks.1.upsamplers.0.conv", "output_blocks.5.2.conv"),
        ("up_blocks.2.resnets.2.conv_shortcut", "output_blocks.8.0.skip_connection"),
        ("add_embedding.linear_2", "label_emb.0.2"),
    ):
        assert original_path(path, layers_per_block=2) == original
