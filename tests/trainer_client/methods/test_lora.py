"""LoRA: what it trains, both layouts of its file, resume, going on, and bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from schemas.errors import BadDocument, BadOption
from schemas.progress import silent
from tests.trainer_client.methods.runs import config, pictures, prepared, run, tensors
from trainer_client.config import TrainConfig
from trainer_client.methods.lora.files import DIFFUSERS_FILE
from trainer_client.methods.lora.read import WrongBase, read_lora
from trainer_client.models import load_family
from trainer_client.sample import sample_tiles, seed_noise
from trainer_client.train import train
from trainer_client.train.checkpoint import checkpoint_name

TRAINED: dict[str, Any] = {"method": "lora", "rank": 3, "alpha": 6.0, "train_text_encoder": True}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, snapshot: Path, base: Path) -> Path:
    """A run of rank 3 on the denoiser and the text encoder."""
    folder = tmp_path_factory.mktemp("lora") / "lora"
    run(snapshot, base, folder, **TRAINED)
    return folder


def last(folder: Path) -> Path:
    return folder / checkpoint_name(2)


def flat_file(folder: Path) -> Path:
    return last(folder) / f"{folder.name}-002.safetensors"


def test_defaults_are_enough_and_are_its_own(snapshot: Path, base: Path) -> None:
    found = TrainConfig.of(snapshot=snapshot, base=str(base), out=Path("o"), method="lora").flat()
    names = ("learning_rate", "rank", "alpha", "targets")
    assert [found[name] for name in names] == [1e-4, 16, 16.0, "transformer"]
    full = TrainConfig.of(snapshot=snapshot, base=str(base), out=Path("o")).flat()
    assert [full[name] for name in names] == [1e-5, None, None, None]
    with pytest.raises(ValueError, match="--rank works with --method lora, not with --method full"):
        TrainConfig.of(snapshot=snapshot, base=str(base), out=Path("o"), rank=4)


def test_an_alpha_of_nothing_is_refused_and_not_taken_for_the_rank() -> None:
    with pytest.raises(ValueError, match=r"alpha\n.*greater than 0"):
        TrainConfig.of(snapshot=Path("s"), base="b", out=Path("o"), method="lora", alpha=0.0)


@pytest.mark.slow
def test_it_computes_what_the_base_does_and_then_learns(snapshot: Path, base: Path, tmp_path: Path) -> None:
    report = run(snapshot, base, tmp_path / "lora", method="lora")
    full = run(snapshot, base, tmp_path / "full", epochs=1)
    grids = [found.checkpoints[0].grid for found in (report, full)]
    assert grids[0] and grids[1] and grids[0].file.sha256 == grids[1].file.sha256
    before, after = (checkpoint.evaluation for checkpoint in (report.checkpoints[0], report.checkpoints[-1]))
    assert before and after
    assert sum(after.train_subset["human"]) < sum(before.train_subset["human"])


def test_only_the_update_moves(snapshot: Path, base: Path, tmp_path: Path) -> None:
    found = prepared(snapshot, base, tmp_path / "run", **TRAINED)
    assert {name.rsplit(".", 3)[1] for name in found.method.parameters} == {"lora_A", "lora_B"}
    assert {name.split(".")[0] for name in found.method.parameters} == {"denoiser", "text_encoder"}
    frozen = [w for m in (found.family.denoiser, found.family.text_encoders["text_encoder"]) for w in m.parameters()]
    assert sum(weight.requires_grad for weight in frozen) == len(found.method.parameters)


@pytest.mark.slow
def test_the_first_update_is_a_function_of_the_seed(snapshot: Path, base: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    one = prepared(snapshot, base, tmp_path / "a", method="lora").method.parameters
    torch.manual_seed(2)
    other = prepared(snapshot, base, tmp_path / "b", method="lora").method.parameters
    third = prepared(snapshot, base, tmp_path / "c", method="lora", seed=1).method.parameters
    downs = [name for name in one if ".lora_A." in name]
    assert downs
    for name in downs:
        assert torch.equal(one[name], other[name])
        assert not torch.equal(one[name], third[name])
        inputs = one[name][0].numel()
        assert float(one[name].detach().abs().max()) <= inputs**-0.5
        assert float(one[name].detach().std()) == pytest.approx((inputs * 3) ** -0.5, rel=0.4)


def test_diffusers_reads_both_layouts_and_draws_the_same(trained: Path, base: Path) -> None:
    ours = pictures(last(trained))
    assert (ours != pictures(base)).any()
    for file in (DIFFUSERS_FILE, flat_file(trained).name):
        assert (drawn_by_diffusers(base, last(trained), file) - ours).abs().max() <= 1


def drawn_by_diffusers(base: Path, folder: Path, file: str) -> Any:
    """Our sampler, with a pipeline's modules that `load_lora_weights` has put the file on."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(base, safety_checker=None)
    pipeline.load_lora_weights(folder, weight_name=file)
    encoders = {"text_encoder": pipeline.text_encoder.eval()}
    family = replace(load_family(str(base)), denoiser=pipeline.unet.eval(), text_encoders=encoders)
    return sample_tiles(family, ["a red fox"], [1, 2], steps=3).int()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_the_pipelines_own_pictures_are_those_of_our_sampler(trained: Path, base: Path) -> None:
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(base, safety_checker=None)
    pipeline.load_lora_weights(last(trained), weight_name=flat_file(trained).name)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    noise = seed_noise(1, (4, 8, 8))[None]
    drawn = pipeline("a red fox", latents=noise, num_inference_steps=3, guidance_scale=7.5, output_type="np").images
    ours = pictures(last(trained))[0, 0]
    assert (torch.from_numpy(drawn[0]) * 255 - ours).abs().max() < 2


def test_the_flat_layout_is_what_the_programs_look_for(trained: Path) -> None:
    with safe_open(flat_file(trained), framework="pt") as file:
        header, shapes = file.metadata(), {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    attention = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    assert shapes[f"{attention}.lora_down.weight"] == (3, 16)
    assert shapes[f"{attention}.lora_up.weight"] == (16, 3)
    assert shapes[f"{attention}.alpha"] == ()
    assert shapes["lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"] == (3, 32, 1, 1)
    assert shapes["lora_te_text_model_encoder_layers_1_mlp_fc1.lora_up.weight"] == (32, 3)
    assert {name.split(".", 1)[1] for name in shapes} == {"lora_down.weight", "lora_up.weight", "alpha"}
    assert header["ss_network_module"] == "networks.lora"
    assert (header["ss_network_dim"], header["ss_network_alpha"]) == ("3", "6.0")
    assert (header["ss_base_model_version"], header["ss_v2"]) == ("sd_v1", "False")
    assert (header["ss_output_name"], header["ss_num_train_images"], header["ss_epoch"]) == ("lora-002", "12", "2")
    assert header["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert header["amatl.captions"] == "human"
    assert all(isinstance(value, str) for value in header.values())


def test_the_hash_in_the_header_is_that_of_the_tensors(trained: Path) -> None:
    import hashlib

    content = flat_file(trained).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])["__metadata__"]
    assert header["sshs_model_hash"] == hashlib.sha256(content[8 + length :]).hexdigest()


def test_both_layouts_hold_the_same_update(trained: Path, base: Path) -> None:
    family = load_family(str(base))
    one, other = (read_lora(path, family) for path in (last(trained) / DIFFUSERS_FILE, flat_file(trained)))
    assert one.keys() == other.keys()
    for place, layer in one.items():
        assert (layer.alpha, other[place].alpha) == (6.0, 6.0)
        assert torch.equal(layer.up, other[place].up) and torch.equal(layer.down, other[place].down)


class Stop(Exception):
    pass


@pytest.mark.slow
def test_a_run_that_broke_off_ends_like_one_that_did_not(
    trained: Path, snapshot: Path, base: Path, tmp_path: Path
) -> None:
    def listen(stage: str, done: int, total: int | None, detail: str = "") -> None:
        if stage == "training" and done == 17:
            raise Stop

    out = tmp_path / "lora"
    with pytest.raises(Stop):
        run(snapshot, base, out, listen, **TRAINED, state_every_seconds=0.0)
    result = train(config(snapshot, base, out, **TRAINED), silent)
    assert result.resumed
    ours, theirs = tensors(last(out)), tensors(last(trained))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


@pytest.mark.slow
def test_another_lora_goes_on_with_it(trained: Path, snapshot: Path, base: Path, tmp_path: Path) -> None:
    report = run(snapshot, trained, tmp_path / "on", **TRAINED, epochs=1)
    assert report.base.name == str(trained)
    first = tmp_path / "on" / checkpoint_name(0)
    assert (pictures(first) == pictures(last(trained))).all()
    before = load_file(last(trained) / DIFFUSERS_FILE)
    assert all(torch.equal(tensor, before[name]) for name, tensor in load_file(first / DIFFUSERS_FILE).items())
    after = tmp_path / "on" / checkpoint_name(1)
    assert (drawn_by_diffusers(base, after, DIFFUSERS_FILE) - pictures(after)).abs().max() <= 1
    with pytest.raises(BadOption, match=r"--rank 4: .* is a LoRA with 3\. Give --rank 3"):
        run(snapshot, trained, tmp_path / "no", **(TRAINED | {"rank": 4}))


@pytest.mark.slow
def test_full_finetuning_goes_on_from_a_lora(trained: Path, snapshot: Path, tmp_path: Path) -> None:
    report = run(snapshot, trained, tmp_path / "full", epochs=1)
    assert (pictures(tmp_path / "full" / checkpoint_name(0)) - pictures(last(trained))).abs().max() <= 1
    assert report.base.digest == json.loads((tmp_path / "full/run.json").read_text())["base"]["digest"]


@pytest.mark.slow
def test_the_base_is_looked_for_and_checked(
    snapshot: Path, base: Path, v_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    moved = shutil.copytree(base, tmp_path / "here")
    run(snapshot, moved, tmp_path / "lora", method="lora", epochs=1)
    moved.rename(tmp_path / "there")
    with pytest.raises(LookupError, match=r"its base .*here is missing from .* --base"):
        pictures(tmp_path / "lora")
    assert pictures(tmp_path / "lora", adapter_base=str(tmp_path / "there")).shape == (1, 2, 16, 16, 3)
    other = shutil.copytree(base, tmp_path / "other")
    weights = load_file(other / "unet/diffusion_pytorch_model.safetensors")
    from safetensors.torch import save_file

    save_file(
        {n: t + 1 for n, t in weights.items()}, other / "unet/diffusion_pytorch_model.safetensors", {"format": "pt"}
    )
    with pytest.raises(BadDocument, match=r"trained on .* with digest [0-9a-f]{12}, but .*other has"):
        pictures(tmp_path / "lora", adapter_base=str(other))


def test_a_file_for_another_model_is_refused(trained: Path, base: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    family, content = load_family(str(base)), load_file(flat_file(trained))
    renamed = tmp_path / "renamed.safetensors"
    save_file({name.replace("attentions_0", "attentions_7"): tensor for name, tensor in content.items()}, renamed)
    with pytest.raises(WrongBase, match=r"\d+ of its \d+ layers aren't in .*attentions_7.* Give the base"):
        read_lora(renamed, family)
    wider = tmp_path / "wider.safetensors"
    save_file({name: t.repeat(1, 2) if t.dim() == 2 else t for name, t in content.items()}, wider)
    with pytest.raises(WrongBase, match="Give the base that it was trained on"):
        read_lora(wider, family)
    loha = tmp_path / "loha.safetensors"
    save_file({"lora_unet_mid_block_attentions_0_proj_in.hada_w1_a": torch.zeros(2, 2)}, loha)
    with pytest.raises(BadDocument, match="not part of a plain LoRA"):
        read_lora(loha, family)


@pytest.mark.slow
def test_a_v_prediction_base(snapshot: Path, v_base: Path, tmp_path: Path) -> None:
    report = run(snapshot, v_base, tmp_path / "v", method="lora", rank=2, min_snr_gamma=5.0)
    before, after = (checkpoint.evaluation for checkpoint in (report.checkpoints[0], report.checkpoints[-1]))
    assert before and after
    assert sum(after.train_subset["human"]) < sum(before.train_subset["human"])
    with safe_open(tmp_path / "v" / checkpoint_name(2) / "v-002.safetensors", framework="pt") as file:
        assert file.metadata()["ss_v_parameterization"] == "True"
        assert file.metadata()["modelspec.prediction_type"] == "v"
