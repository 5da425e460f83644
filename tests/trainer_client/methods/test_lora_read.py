"""LoRAs of other programs: each layout is put where diffusers puts it, and what can't be is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from schemas.errors import BadDocument
from trainer_client.methods.lora.files import merge_layers
from trainer_client.methods.lora.read import WrongBase, read_lora
from trainer_client.models import Family, load_family

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
Tensors = dict[str, torch.Tensor]


def kohya(family: Family) -> Tensors:
    """Linear layers and convolutions (LoCon), alpha of its own."""
    found: Tensors = {}
    for component, prefix in (("denoiser", "lora_unet_"), ("text_encoder", "lora_te_text_model_")):
        for path, layer in family.modules[component].named_modules():
            shape = getattr(layer, "weight", torch.zeros(0)).shape
            if len(shape) < 2 or "embedding" in path:
                continue
            name = prefix + path.removeprefix("text_model.").replace(".", "_")
            found[f"{name}.lora_down.weight"], found[f"{name}.lora_up.weight"] = halves(shape)
            found[f"{name}.alpha"] = torch.tensor(2.0)
    return found


def halves(shape: torch.Size) -> tuple[torch.Tensor, torch.Tensor]:
    down, up = torch.randn(3, *shape[1:]), torch.randn(shape[0], 3, *([1, 1] if len(shape) == 4 else []))
    return down / 10, up / 10


def attention(name: Callable[[str, str], str]) -> Callable[[Family], Tensors]:
    """The denoiser's attention layers, each half as `name` calls it, of a layer's path and `down` or `up`."""

    def build(family: Family) -> Tensors:
        found: Tensors = {}
        for path, layer in family.denoiser.named_modules():
            if path.endswith(ATTENTION):
                assert isinstance(layer.weight, torch.Tensor)
                for half, tensor in zip(("down", "up"), halves(layer.weight.shape), strict=True):
                    found[f"unet.{name(path, half)}.weight"] = tensor
        return found

    return build


def of_peft(path: str, half: str) -> str:
    return f"{path}.lora_{'A' if half == 'down' else 'B'}"


def of_processor(path: str, half: str) -> str:
    head, _, layer = path.partition(".to_")
    return f"{head}.processor.to_{layer.removesuffix('.0')}_lora.{half}"


def told(**settings: Any) -> dict[str, str]:
    shared = {"r": 3, "lora_alpha": 6, "target_modules": list(ATTENTION), **settings}
    return {"lora_adapter_metadata": json.dumps({f"unet.{name}": value for name, value in shared.items()})}


@pytest.mark.parametrize(
    ("build", "header"),
    [
        (kohya, {}),
        pytest.param(attention(of_peft), {}, marks=pytest.mark.slow),
        pytest.param(attention(of_peft), told(), marks=pytest.mark.slow),
        pytest.param(attention(of_peft), told(alpha_pattern={"to_q": 2}), marks=pytest.mark.slow),
        pytest.param(attention(of_peft), told(use_rslora=True), marks=pytest.mark.slow),
        (attention(of_processor), {}),
        pytest.param(attention(lambda path, half: f"{path}.lora.{half}"), {}, marks=pytest.mark.slow),
    ],
    ids=["kohya", "peft", "alpha", "alpha-by-layer", "rank-stabilised", "processors", "before-peft"],
)
def test_weights_are_those_of_diffusers(
    build: Callable[[Family], Tensors], header: dict[str, str], base: Path, tmp_path: Path
) -> None:
    from diffusers import StableDiffusionPipeline

    torch.manual_seed(0)
    family = load_family(str(base))
    before = family.denoiser.state_dict()["conv_in.weight"].clone()
    save_file(build(family), tmp_path / "lora.safetensors", metadata={"format": "pt", **header})
    merge_layers(family, read_lora(tmp_path / "lora.safetensors", family))
    pipeline = StableDiffusionPipeline.from_pretrained(base, safety_checker=None)
    untouched = pipeline.unet.state_dict()
    untouched = {name: tensor.clone() for name, tensor in untouched.items()}
    pipeline.load_lora_weights(tmp_path, weight_name="lora.safetensors")
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    for module, theirs in (
        (family.denoiser, pipeline.unet),
        (family.text_encoders["text_encoder"], pipeline.text_encoder),
    ):
        for name, tensor in theirs.state_dict().items():
            torch.testing.assert_close(module.state_dict()[name], tensor, msg=name)
    moved = [name for name, tensor in untouched.items() if not torch.equal(tensor, family.denoiser.state_dict()[name])]
    assert all(any(layer in name for name in moved) for layer in ATTENTION)
    assert torch.equal(before, family.denoiser.state_dict()["conv_in.weight"]) == (build is not kohya)


FIRST = "lora_unet_conv_in"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.clear(), "the file is empty"),
        (lambda tensors: tensors.pop(f"{FIRST}.lora_up.weight"), "one half of lora_unet_conv_in is missing"),
        (lambda tensors: tensors[f"{FIRST}.lora_up.weight"].fill_(torch.nan), "lora_unet_conv_in contains NaN"),
        (lambda tensors: tensors.update({f"{FIRST}.dora_scale": torch.ones(1)}), "conv_in.dora_scale is not part of a"),
        (
            lambda tensors: tensors.update({f"{FIRST}.lora_mid.weight": torch.ones(1)}),
            "lora_mid.weight is not part of a",
        ),
        (lambda tensors: tensors.update({"lora_unet_x.alpha": torch.ones(1)}), r"1 of its \d+ layers aren't in"),
    ],
)
def test_what_is_no_whole_lora_is_refused(
    change: Callable[[Tensors], Any], message: str, base: Path, tmp_path: Path
) -> None:
    family = load_family(str(base))
    tensors = kohya(family)
    change(tensors)
    save_file(tensors, tmp_path / "lora.safetensors")
    with pytest.raises(BadDocument, match=message):
        read_lora(tmp_path / "lora.safetensors", family)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{oops", "in its header can't be read"), (told(use_dora=True), "a DoRA")],
    ids=["odd", "dora"],
)
def test_settings_that_are_not_understood_are_refused(
    text: str | dict[str, str], message: str, base: Path, tmp_path: Path
) -> None:
    family = load_family(str(base))
    header = text if isinstance(text, dict) else {"lora_adapter_metadata": text}
    save_file(attention(of_peft)(family), tmp_path / "lora.safetensors", metadata=header)
    with pytest.raises(BadDocument, match=message):
        read_lora(tmp_path / "lora.safetensors", family)


def test_another_architecture_is_refused(base: Path, xl_base: Path, tmp_path: Path) -> None:
    save_file(kohya(load_family(str(base))), tmp_path / "lora.safetensors")
    with pytest.raises(WrongBase, match=r"layers aren't in .* Give the base that it was trained on"):
        read_lora(tmp_path / "lora.safetensors", load_family(str(xl_base)))
