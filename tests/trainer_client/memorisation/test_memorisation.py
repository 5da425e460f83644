"""Copies of training images among the drawings are found; drawings of one's own are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from schemas.digest import sha256_file
from schemas.errors import BadOption, ChecksumMismatch, NotFound
from schemas.run import RunReport
from tests.trainer_client.conftest import write_snapshot
from trainer_client.config import TrainConfig
from trainer_client.data.images import pixels
from trainer_client.data.snapshot import Snapshot
from trainer_client.memorisation import memorisation, text_of_memorisation
from trainer_client.memorisation.likeness import feature_distances, hash_distances, perceptual_hashes
from trainer_client.train import train


def noise(count: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 24, 24, 3), dtype=np.uint8))


def smooth(count: int, seed: int = 0) -> torch.Tensor:
    """Soft pictures, as a hash expects them."""
    small = np.random.default_rng(seed).integers(0, 256, (count, 5, 5, 3), dtype=np.uint8)
    large = [np.array(Image.fromarray(one).resize((48, 48), Image.Resampling.BICUBIC)) for one in small]
    return torch.from_numpy(np.stack(large))


def test_a_hash_survives_size_brightness_and_jpeg_and_tells_pictures_apart(tmp_path: Path) -> None:
    pictures = smooth(6)
    hashes = perceptual_hashes(pictures)
    Image.fromarray(pictures[0].numpy()).resize((96, 96)).save(tmp_path / "0.jpg", quality=70)
    again = torch.from_numpy(np.array(Image.open(tmp_path / "0.jpg")))[None]
    darker = (pictures[:1].float() * 0.8).to(torch.uint8)
    for changed in (again, darker):
        assert hash_distances(perceptual_hashes(changed), hashes[:1]).item() <= 4
    between = hash_distances(hashes, hashes)
    assert (between.diagonal() == 0).all() and torch.equal(between, between.T)
    assert between[~torch.eye(6, dtype=torch.bool)].min() >= 12


def test_feature_distances_are_of_directions() -> None:
    one = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert feature_distances(one, torch.tensor([[3.0, 0.0], [-1.0, 0.0]])).tolist() == [[0.0, 2.0], [1.0, 1.0]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """A run of one epoch with four pictures, on 12 training and 6 held-out images."""
    folder = tmp_path_factory.mktemp("memorisation")
    snapshot = write_snapshot(folder / "snapshot", 12, 6)
    (folder / "prompts.txt").write_text("a red fox\na grey wolf\n", encoding="utf-8")
    settings: dict[str, Any] = {"epochs": 1, "seeds": (1, 2), "sample_steps": 2, "eval_timesteps": 1}
    paths = {"prompts": folder / "prompts.txt", "out": folder / "run", "cache": folder / "cache"}
    train(TrainConfig.of(snapshot=snapshot, base=str(base), captions="human", **settings, **paths))
    return folder / "run"


def plant(run: Path, place: tuple[int, int], picture: np.ndarray[Any, Any]) -> None:
    """Puts a picture into the last checkpoint's grid, report and all."""
    report = json.loads((run / "run.json").read_text(encoding="utf-8"))
    grid = report["checkpoints"][-1]["grid"]
    path, side = run / grid["file"]["path"], grid["tile_px"]
    pixels_HWC = np.array(Image.open(path).convert("RGB"))
    row, column = place
    pixels_HWC[row * side : (row + 1) * side, column * side : (column + 1) * side] = picture
    Image.fromarray(pixels_HWC).save(path)
    grid["file"] |= {"sha256": sha256_file(path), "size_bytes": path.stat().st_size}
    (run / "run.json").write_text(json.dumps(report), encoding="utf-8")


def test_a_copied_training_image_is_found_and_named(run: Path) -> None:
    snapshot = Snapshot.open(run.parent / "snapshot", verify=False)
    copied = snapshot.rows("train")[7]
    plant(run, (1, 0), pixels(copied, 16))
    found = memorisation(run, device="cpu")
    first = found.pictures[0]
    assert (first.prompt, first.seed, first.suspect) == ("a grey wolf", 1, True)
    assert first.by_features.image_sha256 == first.by_hash.image_sha256 == copied.sha256
    assert first.by_features.distance == pytest.approx(0, abs=1e-5) and first.by_hash.distance == 0
    assert found.suspects >= 1 and found.finding.startswith(f"{found.suspects} of 4 samples")
    assert "<- look" in text_of_memorisation(found)
    with Image.open(found.sheet) as sheet:
        assert sheet.width > 400
    kept = json.loads((run / "memorisation" / "epoch-001.json").read_text(encoding="utf-8"))
    assert kept["suspects"] == found.suspects


def test_every_picture_is_listed_once(run: Path) -> None:
    found = memorisation(run, device="cpu")
    assert sorted((picture.prompt, picture.seed) for picture in found.pictures) == [
        ("a grey wolf", 1), ("a grey wolf", 2), ("a red fox", 1), ("a red fox", 2)
    ]  # fmt: skip
    assert (found.train_images, found.held_out_images, found.epoch) == (12, 6, 1)


def test_bad_input_is_named(run: Path, snapshot: Path, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=r"no trained checkpoint 7 with samples. There are 1"):
        memorisation(run, epoch=7, device="cpu")
    with pytest.raises(BadOption, match="holds other images than run trained on"):
        memorisation(run, snapshot=snapshot, device="cpu")
    with pytest.raises(NotFound, match=r"run\.json"):
        memorisation(tmp_path, device="cpu")
    with pytest.raises(NotFound, match="--features"):
        memorisation(run, features=str(tmp_path / "nothing"), device="cpu")


def test_a_changed_grid_is_refused(run: Path) -> None:
    path = run / RunReport.read(run / "run.json").checkpoints[-1].grid.file.path  # type: ignore[union-attr]
    before = path.read_bytes()
    path.write_bytes(before + b"x")
    try:
        with pytest.raises(ChecksumMismatch):
            memorisation(run, device="cpu")
    finally:
        path.write_bytes(before)


def test_an_image_encoder_of_transformers_is_used_by_name(run: Path, tmp_path: Path) -> None:
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=16,
            patch_size=8,
        )
    ).save_pretrained(tmp_path / "clip")
    CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=16).save_pretrained(tmp_path / "clip")
    found = memorisation(run, features=str(tmp_path / "clip"), device="cpu")
    assert len(found.pictures) == 4 and found.features.endswith("clip")


@pytest.mark.slow
def test_a_run_that_went_on_from_another(run: Path, tmp_path: Path) -> None:
    config = RunReport.read(run / "run.json").config
    settings = {"epochs": 1, "seeds": (1,), "sample_steps": 2, "eval_timesteps": 1, "cache": tmp_path / "cache"}
    for base, name in ((config["base"], "lora"), (tmp_path / "lora", "on")):
        values = {"base": str(base), "out": tmp_path / name, "method": "lora" if name == "lora" else "full"}
        train(TrainConfig.of(snapshot=config["snapshot"], captions="human", rank=None, **values, **settings))
    assert memorisation(tmp_path / "on").pictures
