"""A model in one file: converted once with a local configuration, trained, continued; what can't be read is said."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from schemas.errors import BadDocument, BadOption, NotFound
from tests.trainer_client.methods.runs import pictures, run
from tests.trainer_client.models.single_file import write_single_file, write_xl_single_file
from trainer_client import load_model
from trainer_client.merge import merge
from trainer_client.models import single_file
from trainer_client.train.checkpoint import checkpoint_name


@pytest.fixture
def file(base: Path, tmp_path: Path) -> Path:
    return write_single_file(base, tmp_path / "model.safetensors")


def test_it_draws_what_the_folder_draws(file: Path, base: Path, cache: Path) -> None:
    theirs = pictures(base)
    assert (pictures(file, config=str(base)) == theirs).all()
    (folder,) = (cache / "models").iterdir()
    written = (folder / "model_index.json").stat().st_mtime_ns
    assert load_model.digest(str(file), config=str(base)) == load_model.digest(str(folder))
    assert (folder / "model_index.json").stat().st_mtime_ns == written
    assert (pictures(folder) == theirs).all()


@pytest.mark.slow
def test_a_run_on_it_and_on_that(file: Path, base: Path, snapshot: Path, cache: Path, tmp_path: Path) -> None:
    report = run(snapshot, file, tmp_path / "lora", method="lora", rank=2, epochs=1, base_config=str(base))
    assert report.base.name == str(file)
    assert [link.name for link in report.lineage] == [str(file)]
    file.unlink()  # The converted folder is enough to draw and to go on.
    assert (pictures(tmp_path / "lora" / checkpoint_name(0)) == pictures(base)).all()


@pytest.mark.slow
def test_half_precision_and_v_prediction_are_kept(base: Path, cache: Path, tmp_path: Path) -> None:
    marked = write_single_file(base, tmp_path / "marked.safetensors", v_pred=torch.zeros(0))
    assert load_model.load(str(marked), config=str(base)).prediction == "v_prediction"
    header = {"modelspec.prediction_type": "v"}
    told = write_single_file(base, tmp_path / "told.safetensors", header)
    assert load_model.load(str(told), config=str(base)).prediction == "v_prediction"
    from safetensors.torch import load_file

    half = tmp_path / "half.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(told).items()}, half)
    family = load_model.load(str(half), config=str(base))
    assert next(family.denoiser.parameters()).dtype == torch.float32
    weights = load_file(family.identity.located / "unet" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}


def test_of_several_at_once_one_converts(
    file: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when several runs start from one file, or one run has several processes."""
    load, loaded = single_file._load, []
    monkeypatch.setattr(single_file, "_load", lambda *given: loaded.append(given) or load(*given))
    with ThreadPoolExecutor(3) as pool:
        folders = set(pool.map(lambda _: single_file.converted(file, str(base), tmp_path / "cache"), range(3)))
    assert len(loaded) == len(folders) == 1
    assert list((tmp_path / "cache" / "models").iterdir()) == list(folders)


@pytest.mark.slow
def test_sdxl(xl_base: Path, cache: Path, tmp_path: Path) -> None:
    file = write_xl_single_file(xl_base, tmp_path / "xl.safetensors")
    family = load_model.load(str(file), config=str(xl_base))
    assert family.name == "stable-diffusion-xl"
    assert (pictures(file, config=str(xl_base)) == pictures(xl_base)).all()


def test_what_can_not_be_read(
    file: Path, base: Path, xl_base: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(NotFound, match=r"can't get its configuration from the hub .* --base-config"):
        load_model.load(str(file))
    with pytest.raises(NotFound, match=r"--base-config nowhere: no model_index\.json"):
        load_model.load(str(file), config="nowhere")
    other = shutil.copytree(base, tmp_path / "other")
    settings = json.loads((other / "unet/config.json").read_text()) | {"block_out_channels": [16, 64]}
    (other / "unet/config.json").write_text(json.dumps(settings))
    with pytest.raises(BadDocument, match=r"doesn't fit the configuration of .*other"):
        load_model.load(str(file), config=str(other))
    with pytest.raises(BadDocument, match=r"only \.safetensors"):
        load_model.load(str(_written(tmp_path / "model.ckpt")), config=str(base))
    with pytest.raises(BadDocument, match="can't be read"):
        load_model.load(str(_written(tmp_path / "broken.safetensors")), config=str(base))
    lora = tmp_path / "lora.safetensors"
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1)}, lora)
    with pytest.raises(BadOption, match="a LoRA, not a model"):
        load_model.load(str(lora), config=str(base))
    save_file({"something.else": torch.zeros(1)}, lora)
    with pytest.raises(BadDocument, match=r"not a Stable Diffusion 1.x"):
        load_model.load(str(lora), config=str(base))
    assert not list((cache / "models").glob("*")) if (cache / "models").exists() else True


def _written(path: Path) -> Path:
    path.write_bytes(b"not a model")
    return path


def test_options_of_another_kind_of_base_are_refused(base: Path) -> None:
    with pytest.raises(BadOption, match=r"--base-config elsewhere: .* is not a single file, it has its own"):
        load_model.load(str(base), config="elsewhere")
    with pytest.raises(BadOption, match=r"--revision v2: .* is local"):
        load_model.load(str(base), revision="v2")


@pytest.mark.slow
def test_a_lora_on_a_single_file_is_merged_by_its_own_file(
    file: Path, base: Path, snapshot: Path, cache: Path, tmp_path: Path
) -> None:
    run(snapshot, file, tmp_path / "lora", method="lora", rank=2, epochs=1, base_config=str(base))
    weights = tmp_path / "lora" / checkpoint_name(1) / "lora-001.safetensors"
    merge(weights, tmp_path / "of-file", base_config=str(base))
    merge(tmp_path / "lora", tmp_path / "of-run")
    merge(tmp_path / "lora", tmp_path / "told", base=str(file), base_config=str(base))
    assert len({load_model.digest(str(tmp_path / name)) for name in ("of-file", "of-run", "told")}) == 1
