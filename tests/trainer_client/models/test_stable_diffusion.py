"""The Stable Diffusion family against diffusers' own schedulers and pipeline, for epsilon and v-prediction."""

from __future__ import annotations

import json
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from schemas.errors import BadDocument, BadOption, NotFound
from trainer_client.models import Family, load_family
from trainer_client.models.weights import in_order, tensor_digests
from trainer_client.randomness import keys, normal
from trainer_client.sample import draw_tiles, seed_noise


@pytest.fixture(autouse=True)
def bases_loaded_once() -> None:
    """Here each is loaded anew: this proves loading."""


@pytest.fixture(scope="module", params=["base", "v_base"])
def family(request: pytest.FixtureRequest) -> Family:
    return load_family(str(request.getfixturevalue(request.param)))


@pytest.fixture(scope="module")
def latents(family: Family) -> torch.Tensor:
    return normal(keys(0, "latent", 0, 0, ["a", "b", "c"]), family.latent_shape)


@pytest.fixture(scope="module")
def noise(family: Family) -> torch.Tensor:
    return normal(keys(0, "noise", 0, 0, ["a", "b", "c"]), family.latent_shape)


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    """A base to damage."""
    return Path(shutil.copytree(base, tmp_path / "copy"))


def test_what_it_says_of_itself(family: Family) -> None:
    assert family.name == "stable-diffusion"
    assert (family.resolution_px, family.latent_shape, family.token_limit) == (16, (4, 8, 8), 77)
    assert (family.train_timesteps, family.dtype, family.device.type) == (1000, torch.float32, "cpu")
    assert next(family.denoiser.parameters()).dtype == torch.float32


def test_noise_and_target_are_those_of_diffusers(family: Family, latents: torch.Tensor, noise: torch.Tensor) -> None:
    from diffusers import DDPMScheduler

    settings = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    ddpm = DDPMScheduler(**settings)
    timesteps = torch.tensor([0, 500, 999])
    noisy = family.add_noise(latents, noise, timesteps)
    assert torch.allclose(noisy, ddpm.add_noise(latents, noise, timesteps), atol=1e-6)
    velocity = ddpm.get_velocity(latents, noise, timesteps)
    expected = {"epsilon": noise, "v_prediction": velocity}[family.prediction]  # type: ignore[attr-defined]
    assert torch.allclose(family.target(latents, noise, timesteps), expected, atol=1e-6)


def test_min_snr_weights(family: Family) -> None:
    """Hang et al. 2023, equation 7: min(SNR, gamma) / SNR for epsilon, / (SNR + 1) for v."""
    timesteps = torch.tensor([0, 300, 999])
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alphas = (1 - betas).cumprod(0)[timesteps]
    snr = alphas / (1 - alphas)
    over = snr if family.prediction == "epsilon" else snr + 1  # type: ignore[attr-defined]
    assert torch.allclose(family.loss_weights(timesteps, 5.0).double(), snr.clamp(max=5) / over, rtol=1e-4)
    assert family.loss_weights(timesteps, None).tolist() == [1, 1, 1]


def test_latents_are_scaled_draws(family: Family) -> None:
    mean, logvar, noise = torch.full((2, 4, 8, 8), 3.0), torch.full((2, 4, 8, 8), np.log(4.0)), torch.ones(2, 4, 8, 8)
    assert torch.allclose(family.latents(mean, logvar, noise), torch.full((2, 4, 8, 8), 5 * 0.18215))


def test_tokens(family: Family) -> None:
    ids = family.tokenise(["a red fox", "", "fox " * 200])
    assert ids.shape == (3, 77) and ids.dtype == torch.int64
    assert family.count_tokens(["a red fox", "", "fox " * 75, "fox " * 76]) == [5, 2, 77, 78]
    assert family.count_tokens([]) == []


def test_lost_text_is_the_end_as_it_was_written(family: Family) -> None:
    assert family.lost_text("A Red Fox") == ""
    assert family.lost_text("fox " * 75) == ""
    assert family.lost_text("Fox " * 75 + "in the  Snow") == "in the  Snow"


def test_neighbours_do_not_change_a_picture(family: Family, noise: torch.Tensor) -> None:
    text = family.encode_text(family.tokenise(["a red fox", "a wolf", "a bear"]))
    empty = family.encode_text(family.tokenise([""]))
    denoise = partial(family.predict, family.denoiser)
    together = family.sample(denoise, text, empty, noise, steps=4, guidance_scale=5.0)
    alone = family.sample(denoise, text[1:2], empty, noise[1:2], steps=4, guidance_scale=5.0)
    assert together.shape == (3, 16, 16, 3) and together.dtype == torch.uint8
    assert (together[1].int() - alone[0].int()).abs().max() <= 1


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("guidance_scale", [7.5, 1.0])
def test_pictures_are_those_of_the_pipeline(family: Family, guidance_scale: float) -> None:
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(family.base, safety_checker=None)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    prompts = ["a red fox in the snow", "a wolf"]
    tiles = draw_tiles(family, prompts, [11, 12], steps=8, guidance_scale=guidance_scale, batch_size=3)
    noise = torch.stack([seed_noise(seed, family.latent_shape) for seed in (11, 12)] * 2)
    expected = pipeline(
        [prompt for prompt in prompts for _ in range(2)],
        latents=noise,
        num_inference_steps=8,
        guidance_scale=guidance_scale,
        output_type="np",
    ).images
    difference = tiles.flatten(0, 1).numpy().astype(int) - (expected * 255).round().astype(int)
    assert abs(difference).max() <= 1
    assert expected.std() > 0.01, "a flat picture would prove nothing"


def test_a_saved_model_is_loaded_by_from_pretrained_and_knows_where_it_comes_from(base: Path, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    family = load_family(str(base))
    family.save(tmp_path / "0", torch.float16, metadata={"amatl.epoch": "0"})
    with torch.no_grad():
        next(family.denoiser.parameters()).add_(0.5)
    family.save(tmp_path / "1", torch.float16, metadata={"amatl.epoch": "1"}, unchanged_from=tmp_path / "0")
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "1")
    for ours, theirs in (
        (family.denoiser, pipeline.unet),
        (family.text_encoders["text_encoder"], pipeline.text_encoder),
    ):
        for name, tensor in ours.state_dict().items():
            assert torch.allclose(tensor, theirs.state_dict()[name].float(), atol=2e-3), name
    weights = "diffusion_pytorch_model.safetensors"
    for component, file, epoch in (("unet", weights, "1"), ("vae", weights, "0")):
        with safe_open(tmp_path / "1" / component / file, "pt") as opened:
            assert opened.metadata() == {"format": "pt", "amatl.epoch": epoch}
            assert all(opened.get_tensor(name).dtype == torch.float16 for name in opened.keys())  # noqa: SIM118
    for path in ("vae/" + weights, "text_encoder/model.safetensors"):
        assert (tmp_path / "0" / path).samefile(tmp_path / "1" / path)
    assert not (tmp_path / "0/unet" / weights).samefile(tmp_path / "1/unet" / weights)
    again = load_family(str(tmp_path / "1"))
    assert again.digest != family.digest
    assert again.tokenise(["a red fox"]).tolist() == family.tokenise(["a red fox"]).tolist()


def test_a_trained_text_encoder_is_saved(base: Path, tmp_path: Path) -> None:
    family = load_family(str(base))
    family.save(tmp_path / "0")
    with torch.no_grad():
        next(family.text_encoders["text_encoder"].parameters()).add_(1)
    family.save(tmp_path / "1", unchanged_from=tmp_path / "0", trained=("denoiser", "text_encoder"))
    first, second = (load_file(tmp_path / epoch / "text_encoder/model.safetensors") for epoch in "01")
    assert all(name.startswith("text_model.") for name in second), "the names other tools know"
    assert any(not torch.equal(first[name], second[name]) for name in first)
    ids = family.tokenise(["a fox"])
    assert torch.allclose(load_family(str(tmp_path / "1")).encode_text(ids), family.encode_text(ids), atol=1e-6)


def test_the_digest_is_of_content(copy: Path, base: Path) -> None:
    before = load_family(str(base))
    assert load_family(str(copy)).digest == before.digest
    path = copy / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    save_file(tensors, path, metadata={"format": "pt", "other": "header"})
    assert load_family(str(copy)).digest == before.digest, "a header is no content"
    name = sorted(tensors)[0]
    tensors[name].view(-1)[0] += 1
    save_file(tensors, path, metadata={"format": "pt"})
    after = load_family(str(copy))
    assert after.digest != before.digest
    assert after.image_encoder_digest != before.image_encoder_digest
    assert after.text_encoder_digest == before.text_encoder_digest


def test_the_cut_into_files_does_not_change_the_digest(copy: Path, base: Path) -> None:
    folder = copy / "unet"
    tensors = load_file(folder / "diffusion_pytorch_model.safetensors")
    names = sorted(tensors)
    files = {f"diffusion_pytorch_model-0000{n}-of-00002.safetensors": names[n - 1 :: 2] for n in (1, 2)}
    for file, part in files.items():
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
    weight_map = {name: file for file, part in files.items() for name in part}
    index = {"metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())}, "weight_map": weight_map}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    assert load_family(str(copy)).digest == load_family(str(base)).digest


def test_settings_count_for_the_cache_but_not_for_the_base(copy: Path, base: Path) -> None:
    path = copy / "text_encoder" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hidden_act": "gelu", "_name_or_path": "elsewhere"}))
    changed, before = load_family(str(copy)), load_family(str(base))
    assert changed.digest == before.digest
    assert changed.text_encoder_digest != before.text_encoder_digest
    assert changed.image_encoder_digest == before.image_encoder_digest


def test_an_fp16_variant_is_loaded_in_full_precision(copy: Path, base: Path) -> None:
    for path in list(copy.rglob("*.safetensors")):
        half = {name: tensor.half() for name, tensor in load_file(path).items()}
        save_file(half, path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")), {"format": "pt"})
        path.unlink()
    half_family, family = load_family(str(copy)), load_family(str(base))
    for ours, theirs in zip(half_family.denoiser.parameters(), family.denoiser.parameters(), strict=True):
        assert ours.dtype == torch.float32
        assert torch.allclose(ours, theirs, atol=1e-3)
    assert half_family.digest != family.digest


def test_resolution(base: Path) -> None:
    assert load_family(str(base), resolution_px=24).latent_shape == (4, 12, 12)
    with pytest.raises(BadOption, match="multiple of 4"):
        load_family(str(base), resolution_px=18)


def test_bases_that_cannot_be_used(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such folder"):
        load_family(str(tmp_path / "nowhere"))
    single = tmp_path / "model.safetensors"
    single.write_bytes(b"")
    with pytest.raises(BadDocument, match="a single file"):
        load_family(str(single))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadDocument, match="model_index"):
        load_family(str(tmp_path / "empty"))
    scheduler = copy / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps(json.loads(scheduler.read_text()) | {"prediction_type": "sample"}))
    with pytest.raises(BadOption, match=r"predicts 'sample'.*epsilon, v_prediction"):
        load_family(str(copy))
    (copy / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(NotFound, match="vae: no weights"):
        load_family(str(copy))
    index = copy / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", "FluxPipeline"))
    with pytest.raises(BadOption, match=r"FluxPipeline.*StableDiffusionPipeline"):
        load_family(str(copy))
    index.write_text("{}")
    with pytest.raises(BadDocument, match="_class_name"):
        load_family(str(copy))


def test_a_download_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers import DiffusionPipeline

    asked: list[str | None] = []

    def download(name: str, variant: str | None = None, **others: object) -> str:
        asked.append(variant)
        raise OSError("The connection broke.\nsecond line")

    monkeypatch.setattr("trainer_client.models.hub.ask", lambda *_: None)
    monkeypatch.setattr(DiffusionPipeline, "download", download)
    with pytest.raises(
        NotFound, match=r"--base owner/model: the hub has it, .*The connection broke.*Try again"
    ) as caught:
        load_family("owner/model")
    assert asked == [None, "fp16"] and "\n" not in str(caught.value)


def test_a_hub_name_with_only_an_fp16_variant(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers import DiffusionPipeline

    def download(name: str, variant: str | None = None, revision: str | None = None, **others: object) -> str:
        assert (name, revision) == ("owner/model", "main")
        if variant is None:
            raise ValueError("no such variant")
        return str(base)

    monkeypatch.setattr("trainer_client.models.hub.ask", lambda *_: None)
    monkeypatch.setattr(DiffusionPipeline, "download", download)
    family = load_family("owner/model", revision="main")
    assert (family.base, family.identity.revision) == ("owner/model", "main")


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "levels"), [(torch.float32, 2), (torch.bfloat16, 40)])
def test_pictures_on_the_gpu_are_those_on_the_cpu(base: Path, dtype: torch.dtype, levels: int) -> None:
    on_cpu = draw_tiles(load_family(str(base)), ["a red fox"], [1, 2], steps=8).int()
    on_gpu = draw_tiles(load_family(str(base), "cuda", dtype), ["a red fox"], [1, 2], steps=8).int()
    assert (on_cpu - on_gpu).abs().float().mean() <= levels


@pytest.mark.parametrize("part", ["tokenizer", "tokenizer/tokenizer.json"])
def test_a_base_without_its_vocabulary_is_refused(base: Path, tmp_path: Path, part: str) -> None:
    """transformers would make a tokenizer of two tokens, and every caption would read alike."""
    copy = shutil.copytree(base, tmp_path / "base")
    (shutil.rmtree if (copy / part).is_dir() else os.unlink)(copy / part)
    with pytest.raises(NotFound, match=r"vocab\.json: missing\. Download or copy"):
        load_family(str(copy), torch.device("cpu"), torch.float32)


@pytest.mark.parametrize(
    "part", ["tokenizer/tokenizer.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"]
)
def test_a_broken_part_of_a_base_is_named(base: Path, tmp_path: Path, part: str) -> None:
    copy = shutil.copytree(base, tmp_path / "base")
    (copy / part).write_bytes((copy / part).read_bytes()[:200])
    with pytest.raises(BadDocument, match=rf"{part.split('/')[0]}: can't be loaded \(.+\)\. Download or copy"):
        load_family(str(copy), torch.device("cpu"), torch.float32)


def test_the_same_weights_are_the_same_bytes() -> None:
    from safetensors.torch import load, save

    header = {f"name{number}": f"ä {number}" for number in range(20)}
    tensors = {"a": torch.arange(3), "b": torch.ones(2, 5)}
    contents = {in_order(save(tensors, metadata=dict(sorted(header.items(), key=hash)))) for _ in range(20)}
    (content,) = contents
    assert int.from_bytes(content[:8], "little") % 8 == 0
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in load(content).items())
    assert json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"] == header


def test_the_digest_of_a_broken_file_is_told(tmp_path: Path) -> None:
    for content in (b"", b"x", (1 << 60).to_bytes(8, "little")):
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(BadDocument, match=r"model.safetensors: not a safetensors file"):
            dict(tensor_digests(tmp_path / "model.safetensors"))
