"""What every model family has to do, checked on a miniature of each: a new one is a fixture and a line in `BASES`.

Checked against diffusers' schedulers where there is something to compare with, else by what must follow.
"""

from __future__ import annotations

import copy
import inspect
import json
import shutil
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainer_client.load_model import load
from trainer_client.methods.lora.files import diffusers_tensors, flat_tensors, layers_of
from trainer_client.methods.lora.layers import add_layers
from trainer_client.methods.lora.read import read_lora
from trainer_client.methods.textual_inversion.embeddings import add_word
from trainer_client.models import FAMILIES, Family, base_digest, family_of
from trainer_client.models.conventions import Conventions
from trainer_client.performance import torch_compile

BASES = {  # fixture -> what its denoiser predicts; SD 2.x predicts v
    "base": "epsilon",
    "v_base": "v_prediction",
    "xl_base": "epsilon",
}
EVERY_LAYER = {"rank": 2, "alpha": 2.0, "targets": "transformer", "train_text_encoder": True}


@pytest.fixture(autouse=True)
def bases_loaded_once() -> None:
    """Here each is loaded anew: this proves loading."""


@pytest.fixture(scope="module", params=BASES)
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def model(folder: Path) -> Family:
    return load(str(folder))


@pytest.fixture
def fresh(model: Family) -> Family:
    """One that a test may put things on."""
    parts = ("denoiser", "text_encoders", "tokenizers")
    return replace(model, **{name: copy.deepcopy(getattr(model, name)) for name in parts})


@pytest.fixture(scope="module")
def scheduler(folder: Path) -> Any:
    """diffusers' own, of the base's configuration."""
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_bytes())
    known = inspect.signature(DDPMScheduler.__init__).parameters
    return DDPMScheduler(**{name: value for name, value in config.items() if name in known})


@pytest.fixture
def drawn(model: Family) -> tuple[Tensor, Tensor]:
    """Latents and noise of five images."""
    chance = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(5, *model.latent_shape, generator=chance) for _ in range(2))
    return latents, noise


def ends(model: Family) -> Tensor:
    """Timesteps from the first to the last."""
    return torch.linspace(0, model.train_timesteps - 1, 5).long()


def test_every_family_has_a_miniature(request: pytest.FixtureRequest) -> None:
    names = {family_of(request.getfixturevalue(name)).__name__ for name in BASES}
    assert names == {path.partition(":")[2] for path in FAMILIES.values()}


# Diffusion


def test_noise_at_both_ends_and_between(model: Family, scheduler: Any, drawn: tuple[Tensor, Tensor]) -> None:
    latents, noise = drawn
    timesteps = ends(model)
    noisy = model.add_noise(latents, noise, timesteps)
    torch.testing.assert_close(noisy, scheduler.add_noise(latents, noise, timesteps))
    apart = lambda one, other: float((one - other).square().mean().sqrt())  # noqa: E731
    assert apart(noisy[0], latents[0]) < 0.05 < 0.5 < apart(noisy[0], noise[0])
    assert apart(noisy[-1], noise[-1]) < 0.1 < 0.5 < apart(noisy[-1], latents[-1])


def test_the_target(
    model: Family, scheduler: Any, drawn: tuple[Tensor, Tensor], request: pytest.FixtureRequest
) -> None:
    latents, noise = drawn
    timesteps = ends(model)
    assert model.prediction == BASES[request.node.callspec.params["folder"]]
    wanted = noise if model.prediction == "epsilon" else scheduler.get_velocity(latents, noise, timesteps)
    torch.testing.assert_close(model.target(latents, noise, timesteps), wanted)
    ones = torch.ones(5)
    assert torch.equal(model.loss_weights(timesteps, None), ones)
    assert bool((model.loss_weights(timesteps, 5.0) <= ones).all())


def knowing(model: Family, goal_CHW: Tensor, seen: list[int]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A perfect denoiser of a set of one: whatever it is given is `goal` and noise."""

    def denoise(noisy_BCHW: Tensor, timesteps_B: Tensor, text_BTD: Tensor) -> Tensor:
        assert len(noisy_BCHW) == len(timesteps_B) == len(text_BTD)
        seen.append(int(timesteps_B[0]))
        goal_BCHW = goal_CHW.expand_as(noisy_BCHW)
        nothing, ones = torch.zeros_like(noisy_BCHW), torch.ones_like(noisy_BCHW)
        noise_BCHW = noisy_BCHW - model.add_noise(goal_BCHW, nothing, timesteps_B)
        return model.target(goal_BCHW, noise_BCHW / model.add_noise(nothing, ones, timesteps_B), timesteps_B)

    return denoise


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_sampling_with_a_known_denoiser_reaches_what_it_knows(
    model: Family, drawn: tuple[Tensor, Tensor], guidance_scale: float
) -> None:
    (goal, *_), noise = drawn
    text, seen = model.encode_text(model.tokenise(["", "a fox", "a wolf"])).detach(), list[int]()
    denoise = knowing(model, goal, seen)
    reached = model.solve(denoise, text[1:], text[:1], noise[:2], 6, guidance_scale)
    torch.testing.assert_close(reached, goal.expand(2, *goal.shape), atol=2e-3, rtol=0)
    assert len(seen) == 6 and seen == sorted(seen, reverse=True) and seen[0] > 0.8 * model.train_timesteps
    images = model.sample(denoise, text[1:], text[:1], noise[:2], 6, guidance_scale)
    assert images.dtype == torch.uint8 and images.shape == (2, model.resolution_px, model.resolution_px, 3)
    with torch.no_grad():
        assert (images.int() - model.decode(goal[None]).int()).abs().max() <= 1


def test_a_pass_goes_through_what_it_is_given(model: Family, drawn: tuple[Tensor, Tensor]) -> None:
    """A module in front of the denoiser sees every call, and the model keeps nothing of it."""

    class Doubled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = model.denoiser

        def forward(self, *given: Any, **settings: Any) -> tuple[Tensor]:
            return (2 * self.module(*given, **settings)[0],)

    before = dict(vars(model))
    text = model.encode_text(model.tokenise(["a fox"])).detach().expand(5, -1, -1)
    with torch.no_grad():
        plain = model.predict(model.denoiser, drawn[0], ends(model), text)
        torch.testing.assert_close(model.predict(Doubled(), drawn[0], ends(model), text), 2 * plain)
    assert plain.shape == drawn[0].shape and plain.dtype == torch.float32
    assert all(vars(model)[name] is value for name, value in before.items())


@pytest.mark.parametrize(
    "folder", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("base", "v_base")), "xl_base"], indirect=True
)
def test_many_images_are_encoded_alike(model: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a copy of the encoder: the model's own stays as it is."""
    monkeypatch.setattr(torch_compile, "BACKEND", "eager")
    pixels = torch.linspace(-1, 1, 2 * 3 * model.resolution_px**2).view(2, 3, model.resolution_px, -1)
    before = dict(vars(model))
    with torch.no_grad(), model.compiled_image_encoder() as encode_images:
        for many, plain in zip(encode_images(pixels), model.encode_images(pixels), strict=True):
            torch.testing.assert_close(many, plain, atol=1e-4, rtol=1e-4)
            assert many.shape == (2, *model.latent_shape)
    assert all(vars(model)[name] is value for name, value in before.items())


# Identity


@pytest.mark.parametrize("name", ["identity", "denoiser", "resolution_px", "wrapped"])
def test_a_model_cannot_be_assigned_to(model: Family, name: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(model, name, None)
    with pytest.raises(FrozenInstanceError):
        setattr(model.identity, name, None)


def test_another_identity_is_another_object(model: Family) -> None:
    kept = model.identity
    longer = model.identified(conventions=Conventions(max_tokens=150), base="elsewhere")
    assert model.identity is kept and longer.denoiser is model.denoiser
    assert (longer.base, longer.identity.located) == ("elsewhere", kept.located)
    assert longer.token_limit - 2 == 2 * (model.token_limit - 2)
    assert longer.tokenise(["a fox"]).shape[1] == 2 * model.tokenise(["a fox"]).shape[1]


def test_a_word_makes_another_model(fresh: Family) -> None:
    widths = {name: encoder.config.hidden_size for name, encoder in fresh.text_encoders.items()}
    taught = add_word(fresh, "<frog>", {name: torch.ones(2, width) for name, width in widths.items()})
    assert not fresh.identity.words and taught.identity.words == {"<frog>": "<frog> <frog>_1"}
    assert taught.count_tokens(["a <frog>"]) == [taught.count_tokens(["a"])[0] + 2]


# Files


def weights_of(folder: Path) -> dict[str, Tensor]:
    return {
        f"{path.parent.name}/{name}": tensor
        for path in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def test_what_is_saved_is_loaded(fresh: Family, tmp_path: Path) -> None:
    model = fresh.identified(conventions=Conventions(max_tokens=150))
    with torch.no_grad():
        for module in model.modules.values():
            next(module.parameters()).mul_(1.5)
    model.save(tmp_path / "saved", torch.float32)
    again = load(str(tmp_path / "saved"))
    for name, module in model.modules.items():
        weights = again.modules[name].state_dict()
        assert all(torch.equal(weights[key], weight) for key, weight in module.state_dict().items())
    assert again.conventions == model.conventions and type(again) is type(model)
    assert again.digest == base_digest(str(tmp_path / "saved")) != fresh.digest
    assert (again.latent_shape, again.prediction, again.weights) == (
        model.latent_shape,
        model.prediction,
        model.weights,
    )
    again.save(tmp_path / "again", torch.float32)
    for path in (tmp_path / "saved").rglob("*.safetensors"):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(tmp_path / "saved")).read_bytes()


def test_what_is_not_trained_is_linked(fresh: Family, tmp_path: Path) -> None:
    fresh.save(tmp_path / "first")
    with torch.no_grad():
        next(fresh.denoiser.parameters()).add_(1)
    fresh.save(tmp_path / "second", unchanged_from=tmp_path / "first")
    first, second = weights_of(tmp_path / "first"), weights_of(tmp_path / "second")
    assert {name.split("/")[0] for name in first if not torch.equal(first[name], second[name])} == {
        fresh.denoiser_folder
    }
    linked = {path.parent.name for path in (tmp_path / "second").rglob("*.safetensors") if path.stat().st_nlink == 2}
    assert linked and fresh.denoiser_folder not in linked


def test_every_key_of_a_lora_names_a_layer_and_reads_back(model: Family, fresh: Family, tmp_path: Path) -> None:
    add_layers(fresh, EVERY_LAYER, seed=1)
    layers = layers_of(fresh)
    assert {component for component, _ in layers} == set(fresh.attach_points) == set(fresh.modules)
    for tensors in (flat_tensors(fresh, layers, torch.float32), diffusers_tensors(fresh, layers, torch.float32)):
        names = {name.rsplit(".lora_")[0].removesuffix(".alpha") for name in tensors}
        assert len(names) == len(layers), "no two layers share a name"
        save_file(tensors, tmp_path / "lora.safetensors")
        read = read_lora(tmp_path / "lora.safetensors", model)
        assert read.keys() == layers.keys()
        for (component, path), layer in read.items():
            own = layers[component, path]
            assert torch.equal(layer.down, own.down) and torch.equal(layer.up, own.up) and layer.alpha == own.alpha
            weight: Any = model.modules[component].get_submodule(path).weight
            assert layer.delta(weight.shape).shape == weight.shape


# Cache keys


def digests(model: Family) -> tuple[str, str, str]:
    """Of the whole model, of what latents depend on, of what embeddings depend on."""
    return model.digest, model.image_encoder_digest, model.text_encoder_digest


def test_cache_keys_change_with_the_weights_they_depend_on(folder: Path, model: Family, tmp_path: Path) -> None:
    before = digests(model)
    assert before == digests(load(str(folder))) and len(set(before)) == 3
    changes = {model.denoiser_folder: (True, False, False), "vae": (True, True, False)}
    changes |= dict.fromkeys(model.text_encoders, (True, False, True))
    for component, changed in changes.items():
        other = shutil.copytree(folder, tmp_path / component)
        (path,) = (other / component).glob("*.safetensors")
        tensors = load_file(path)
        next(iter(tensors.values())).view(-1)[0] += 1
        save_file(tensors, path, metadata={"format": "pt"})
        after = digests(replace(model, folder=model.files(other)))
        assert tuple(one != other for one, other in zip(after, before, strict=True)) == changed, component


def test_cache_keys_change_with_the_identity_they_depend_on(model: Family) -> None:
    before = digests(model)
    same: tuple[dict[str, Any], ...] = ({"base": "elsewhere"}, {"revision": "v2"}, {"located": Path("/elsewhere")})
    for changes in same:
        assert digests(model.identified(**changes)) == before
    longer = digests(model.identified(conventions=Conventions(max_tokens=150)))
    assert longer[:2] == before[:2] and longer[2] != before[2]
    attached = digests(model.identified(changed="0" * 64))
    assert attached[0] == "0" * 64 and attached[1] == before[1] and attached[2] != before[2]
