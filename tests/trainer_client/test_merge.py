"""`trainer merge` and `trainer lineage`: a LoRA baked in draws the same pictures, and the line of models is kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from schemas.errors import AlreadyExists, BadDocument, BadOption, ChecksumMismatch, NotFound
from schemas.run import RunReport
from tests.trainer_client.methods.runs import pictures, run, tensors
from trainer_client import load_model
from trainer_client.cli import main
from trainer_client.lineage import lineage, render
from trainer_client.merge import merge
from trainer_client.methods.lora.read import WrongBase
from trainer_client.models.weights import header_of
from trainer_client.train.checkpoint import checkpoint_name


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory, snapshot: Path, base: Path) -> Path:
    folder = tmp_path_factory.mktemp("merge") / "lora"
    run(snapshot, base, folder, method="lora", rank=3, alpha=6.0, train_text_encoder=True)
    return folder


def file_of(lora: Path) -> Path:
    return lora / checkpoint_name(2) / "lora-002.safetensors"


@pytest.mark.slow
def test_the_merged_model_draws_what_the_lora_draws(lora: Path, base: Path, tmp_path: Path) -> None:
    theirs = pictures(lora)
    result = merge(lora, tmp_path / "merged", save_dtype="fp32")
    assert result.digest == load_model.digest(str(tmp_path / "merged"))
    assert (pictures(tmp_path / "merged") - theirs).abs().max() <= 1
    assert (theirs != pictures(base)).any()
    merge(file_of(lora), tmp_path / "of-file", base=str(base), save_dtype="fp32")
    one, other = tensors(tmp_path / "merged"), tensors(tmp_path / "of-file")
    assert one.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_strength_and_epoch(lora: Path, base: Path, tmp_path: Path) -> None:
    unet = "unet/diffusion_pytorch_model.safetensors"
    for name, settings in (("none", {"strength": 0.0}), ("half", {"strength": 0.5}), ("whole", {})):
        merge(lora, tmp_path / name, save_dtype="fp32", **settings)  # type: ignore[arg-type]
    merge(lora, tmp_path / "first", epoch=0, save_dtype="fp32")
    before, half, whole, none, first = (
        load_file(folder / unet) for folder in (base, *(tmp_path / name for name in ("half", "whole", "none", "first")))
    )
    assert all(torch.equal(tensor, none[name]) and torch.equal(tensor, first[name]) for name, tensor in before.items())
    for name, tensor in before.items():
        torch.testing.assert_close(half[name] - tensor, (whole[name] - tensor) / 2, atol=1e-6, rtol=1e-3)


def test_what_can_not_be_merged(lora: Path, base: Path, v_base: Path, tmp_path: Path) -> None:
    with pytest.raises(AlreadyExists, match="Choose another --out"):
        merge(lora, base)
    with pytest.raises(BadOption, match="a whole model already"):
        merge(base, tmp_path / "out")
    with pytest.raises(BadOption, match="--strength nan"):
        merge(lora, tmp_path / "out", strength=float("nan"))
    with pytest.raises(BadOption, match="is no run"):
        merge(file_of(lora), tmp_path / "out", epoch=1)
    with pytest.raises(NotFound, match="no such run or file"):
        merge(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(NotFound, match="no checkpoint of epoch 7"):
        merge(lora, tmp_path / "out", epoch=7)
    bare = tmp_path / "bare.safetensors"
    save_file(load_file(file_of(lora)), bare)
    with pytest.raises(BadOption, match="Say it with --base"):
        merge(bare, tmp_path / "out")
    odd = tmp_path / "odd.safetensors"
    save_file({name.replace("unet", "unet_x"): tensor for name, tensor in load_file(bare).items()}, odd)
    with pytest.raises(WrongBase, match="Give the base that it was trained on"):
        merge(odd, tmp_path / "out", base=str(base))
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def continued(lora: Path, snapshot: Path) -> Path:
    """base -> lora -> merged -> full finetuning of its checkpoint 1."""
    folder = lora.parent
    merge(lora, folder / "merged")
    run(snapshot, folder / "merged", folder / "second", epochs=1)
    run(snapshot, folder / "second" / checkpoint_name(1), folder / "third", epochs=1, captions="template")
    return folder / "third"


@pytest.mark.slow
def test_the_chain_is_kept_in_the_report_and_in_every_file(continued: Path, lora: Path, base: Path) -> None:
    report = RunReport.read(continued / "run.json")
    names = [(link.name, link.method, link.epoch) for link in report.lineage]
    made = [("lora", "lora", 2), ("merged", "merge", None), ("second", "full", 1)]
    assert names == [(str(base), None, None), *made]
    digests = [load_model.digest(str(model)) for model in (base, lora, lora.parent / "merged", lora.parent / "second")]
    assert [link.digest for link in report.lineage] == digests
    assert digests[-1] == report.base.digest
    assert report.lineage[1].snapshot == report.snapshot.identity
    copied = shutil.copytree(continued / checkpoint_name(1), continued.parent / "alone", dirs_exist_ok=True)
    found = lineage(str(copied))
    assert found.ancestors == report.lineage
    assert found.itself.startswith("third, epoch 1: full on `template` of snapshot")
    lines = render(lineage(str(continued))).splitlines()
    assert len(lines) == 5
    assert lines[0].endswith(f"from elsewhere, digest {digests[0][:12]}")
    assert lines[4].strip().startswith("-> third: full on `template` of drawn, 1 epoch, complete")


def test_lineage_of_runs_files_and_strangers(lora: Path, base: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["lineage", str(lora)], catch_exceptions=False)
    assert result.stdout.splitlines()[1].strip() == "-> lora: lora on `human` of drawn, 2 epochs, complete"
    shown = json.loads(CliRunner().invoke(main, ["lineage", str(file_of(lora)), "--json"]).stdout)
    assert shown["ancestors"][0]["digest"] == load_model.digest(str(base))
    assert "from elsewhere" in lineage(str(base)).itself
    with pytest.raises(NotFound, match="nowhere"):
        lineage(str(tmp_path / "nowhere"))
    odd = tmp_path / "odd.safetensors"
    save_file({"a": torch.zeros(1)}, odd, metadata={"amatl.run": "odd", "amatl.lineage": "{oops"})
    with pytest.raises(BadDocument, match="its lineage can't be read"):
        lineage(str(odd))


@pytest.mark.slow
def test_a_lora_that_went_on_from_a_lora_is_put_on_the_base_once(lora: Path, snapshot: Path, tmp_path: Path) -> None:
    """Its file holds the whole update; the run that its header names holds the update as it was before."""
    settings: dict[str, Any] = {"method": "lora", "rank": 3, "alpha": 6.0, "train_text_encoder": True}
    run(snapshot, lora, tmp_path / "on", **settings, epochs=1)
    merge(tmp_path / "on", tmp_path / "of-run", save_dtype="fp32")
    merge(tmp_path / "on" / checkpoint_name(1) / "on-001.safetensors", tmp_path / "of-file", save_dtype="fp32")
    assert load_model.digest(str(tmp_path / "of-run")) == load_model.digest(str(tmp_path / "of-file"))
    names = [link.name for link in lineage(str(tmp_path / "of-file")).ancestors]
    assert names[1:] == ["lora", "on"]


@pytest.mark.slow
def test_the_line_goes_on_where_another_method_bakes_an_adapter_in(lora: Path, snapshot: Path, tmp_path: Path) -> None:
    report = run(snapshot, lora, tmp_path / "whole", epochs=1)
    assert [link.name for link in report.lineage][1:] == ["lora"]
    assert report.lineage[-1].digest == load_model.digest(str(lora)) == report.base.digest


def test_a_changed_or_missing_base_is_told(lora: Path, base: Path, tmp_path: Path) -> None:
    file = tmp_path / "moved.safetensors"
    header = header_of(file_of(lora))
    digest = load_model.digest(str(base))[:12]
    changed = changed_base(base, tmp_path / "changed")
    save_file(load_file(file_of(lora)), file, metadata=header | {"amatl.base_name": str(changed)})
    with pytest.raises(BadDocument, match=rf"was trained on .*changed as it was with digest {digest}; it has changed"):
        merge(file, tmp_path / "out")
    save_file(load_file(file), tmp_path / "lost.safetensors", metadata=header | {"amatl.base_name": "/nowhere"})
    with pytest.raises(NotFound, match=r"lost.safetensors: its base /nowhere isn't there any more. Say with --base"):
        merge(tmp_path / "lost.safetensors", tmp_path / "out")
    with pytest.raises(NotFound, match="--base nowhere: there is no such model"):
        merge(lora, tmp_path / "out", base="nowhere")
    with pytest.raises(BadDocument, match="Give the model that it was trained on"):
        merge(lora, tmp_path / "out", base=str(changed))
    merge(file, tmp_path / "out", base=str(changed))  # As a person asked for it.
    names = [link.name for link in lineage(str(tmp_path / "out")).ancestors]
    assert names == [str(changed), "lora"]


def test_weights_that_are_not_those_saved_are_refused(lora: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(lora / checkpoint_name(2), tmp_path / "checkpoint")
    weights = folder / "pytorch_lora_weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    for use in (lambda: merge(folder, tmp_path / "out"), lambda: load_model.load(str(folder))):
        with pytest.raises(ChecksumMismatch, match=r"pytorch_lora_weights.safetensors: changed since it was saved"):
            use()
    weights.unlink()
    with pytest.raises(NotFound, match=r"pytorch_lora_weights.safetensors: missing"):
        load_model.load(str(folder))


def changed_base(base: Path, folder: Path) -> Path:
    shutil.copytree(base, folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(weights).items()}, weights, metadata={"format": "pt"})
    return folder


def test_cards_name_what_a_method_was_told(lora: Path) -> None:
    card = (lora / checkpoint_name(1) / "README.md").read_text(encoding="utf-8")
    assert "| rank | 3 |\n| alpha | 6.0 |\n" in card and "trained for 1 epoch on 12 images" in card
    assert "token" not in card and "ema_decay" not in card
