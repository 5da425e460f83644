"""Sampling: the noise is the seed's alone, grids can be cut into tiles again, and the command draws from a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from schemas.digest import sha256_file
from schemas.errors import BadDocument, BadOption, NotFound
from trainer_client.cli import main
from trainer_client.config import TrainConfig
from trainer_client.models import Family, load_family
from trainer_client.run_folder import find_checkpoint, last_checkpoint, open_run
from trainer_client.sample import draw_grid, draw_tiles, read_prompt_lines, sample, seed_noise
from trainer_client.sample.contact_sheet import contact_sheet
from trainer_client.train import train

GOLDEN_NOISE = [0.3388519, 1.6221637, 0.190195]


@pytest.fixture(scope="module")
def family(base: Path) -> Family:
    return load_family(str(base))


@pytest.fixture(scope="module")
def run(base: Path, snapshot: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one epoch, two prompts, one seed."""
    folder = tmp_path_factory.mktemp("sampling")
    (folder / "prompts.txt").write_text("a red fox\nan image\n")
    config = TrainConfig.of(
        snapshot=snapshot,
        captions="human",
        base=str(base),
        epochs=1,
        seeds=(5,),
        prompts=folder / "prompts.txt",
        sample_steps=3,
        guidance_scale=4.0,
        eval_images=0,
        out=folder / "run",
        cache=folder / "cache",
        device="cpu",
    )
    train(config)
    return folder / "run"


def test_noise_is_the_seeds() -> None:
    assert torch.equal(seed_noise(1, (4, 8, 8)), seed_noise(1, (4, 8, 8)))
    assert not torch.equal(seed_noise(1, (4, 8, 8)), seed_noise(2, (4, 8, 8)))
    assert seed_noise(1, (4, 8, 8)).flatten()[:3].tolist() == pytest.approx(GOLDEN_NOISE, abs=1e-6)


def test_tiles_do_not_depend_on_what_is_drawn_beside_them(family: Family) -> None:
    together = draw_tiles(family, ["a fox", "a wolf"], [1, 2, 3], steps=3, batch_size=4)
    assert together.shape == (2, 3, 16, 16, 3)
    alone = draw_tiles(family, ["a wolf"], [3], steps=3)
    assert (together[1, 2].int() - alone[0, 0].int()).abs().max() <= 1
    assert not torch.equal(together[0, 0], together[0, 1]), "another seed is another picture"


def test_progress_counts_pictures(family: Family) -> None:
    calls: list[tuple[int, int | None]] = []
    draw_tiles(
        family, ["a", "b"], [1, 2, 3], steps=1, batch_size=4, progress=lambda _, n, of, __="": calls.append((n, of))
    )
    assert calls == [(4, 6), (6, 6)]


@pytest.mark.parametrize("steps", [0, 1001])
def test_steps_out_of_range(family: Family, steps: int) -> None:
    with pytest.raises(BadOption, match="1 to 1000"):
        draw_tiles(family, ["a"], [1], steps=steps)


def test_a_grid_is_its_tiles(family: Family, tmp_path: Path) -> None:
    path = tmp_path / "grids" / "epoch-001.png"
    tiles, grid = draw_grid(family, ["a fox", "a wolf"], [1, 2, 3], path, tmp_path, steps=2)
    assert (grid.rows, grid.columns, grid.tile_px) == (2, 3, 16)
    assert (grid.file.path, grid.file.sha256) == ("grids/epoch-001.png", sha256_file(path))
    with Image.open(path) as image:
        pixels = np.asarray(image)
    assert pixels.shape == (32, 48, 3)
    assert np.array_equal(pixels[16:32, 32:48], tiles[1, 2].numpy())


def test_a_runs_checkpoint_draws_what_its_grid_shows(run: Path) -> None:
    result = sample(run, [], [], device="cpu")
    assert (result.epochs, result.steps, result.guidance_scale) == ([1], 3, 4.0)
    assert [(picture.prompt, picture.seed) for picture in result.pictures] == [("a red fox", 5), ("an image", 5)]
    with Image.open(run / "grids" / "epoch-001.png") as image:
        grid = np.asarray(image.convert("RGB")).astype(int)
    for row, picture in enumerate(result.pictures):
        with Image.open(picture.path) as image:
            drawn = np.asarray(image).astype(int)
        # The checkpoint is saved in half precision; what drew the grid was not.
        assert abs(drawn - grid[row * 16 : (row + 1) * 16]).mean() < 2
    assert result.sheet.is_file()
    assert sample(run, [], [], device="cpu").folder == result.folder
    assert sample(run, ["a wolf"], [], device="cpu").folder != result.folder


@pytest.mark.slow
def test_several_checkpoints_side_by_side(run: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    both = sample(
        run, ["a wolf"], [1, 2], "all", device="cpu", progress=lambda stage, n, of, _="": told.append((stage, n, of))
    )
    assert both.epochs == [0, 1] and told == [("drawing pictures", 2, 4), ("drawing pictures", 4, 4)]
    assert [(picture.seed, picture.epoch) for picture in both.pictures] == [(1, 0), (2, 0), (1, 1), (2, 1)]
    assert both.pictures[2].path.name == "01-a-wolf-seed-1-epoch-001.png"
    for epoch in (0, 1):
        alone = sample(run, ["a wolf"], [1, 2], [epoch], device="cpu")
        assert alone.folder != both.folder
        together = [picture for picture in both.pictures if picture.epoch == epoch]
        for one, other in zip(alone.pictures, together, strict=True):
            assert one.path.read_bytes() == other.path.read_bytes()
    again = sample(run, ["a wolf"], [1, 2], [1, 0, 1], device="cpu")
    assert (again.folder, again.epochs) == (both.folder, [0, 1])
    with Image.open(both.sheet) as sheet, Image.open(alone.sheet) as narrow:
        assert sheet.width == narrow.width and sheet.height > 1.5 * narrow.height  # Two epochs wide, two seeds high.
    sample(run, ["a wolf"], [1, 2], [1, 0], out=both.folder, device="cpu")
    with pytest.raises(NotFound, match="no checkpoint of epoch 2"):
        sample(run, ["a wolf"], [1], [0, 2], device="cpu")


@pytest.mark.parametrize("asked", ["-1", "one", ","])
def test_epochs_that_are_none(run: Path, asked: str) -> None:
    result = CliRunner().invoke(main, ["sample", str(run), "--epochs", asked])
    assert result.exit_code == 2 and "Invalid value for '--epoch'" in result.stderr


def test_checkpoints_are_found_or_listed(run: Path, snapshot: Path, tmp_path: Path) -> None:
    report = open_run(run)
    assert find_checkpoint(report, run, None).epoch == 1
    assert find_checkpoint(report, run, 0).epoch == 0
    with pytest.raises(NotFound, match=r"epoch 7. Choose from 0, 1"):
        find_checkpoint(report, run, 7)
    with pytest.raises(NotFound, match="folders of its checkpoints are missing"):
        find_checkpoint(report, tmp_path, None)
    begun = report.model_copy(update={"checkpoints": []})
    with pytest.raises(NotFound, match="no checkpoint saved yet"):
        find_checkpoint(begun, run, None)
    begun.write(tmp_path / "run.json")
    with pytest.raises(NotFound, match="no checkpoint saved yet"):
        last_checkpoint(tmp_path)
    with pytest.raises(NotFound, match=r"run\.json"):
        open_run(snapshot)


def test_prompt_files(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("# a comment\n[unrelated] a red car\n\n  a fox \n")
    assert read_prompt_lines(path) == ["a red car", "a fox"]
    path.write_text("# nothing\n")
    with pytest.raises(BadDocument, match="no prompts"):
        read_prompt_lines(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadDocument, match="UTF-8"):
        read_prompt_lines(path)
    with pytest.raises(NotFound, match="no such file"):
        read_prompt_lines(tmp_path / "nowhere.txt")


def test_the_command(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "drawn"
    arguments = ["sample", str(run), "--epoch", "0", "--prompt", "A Fox, in snow!", "--prompt", "狐"]
    arguments += ["--seeds", "1,2", "--steps", "2", "--device", "cpu", "--out", str(out)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    for name in ("01-a-fox-in-snow-seed-1.png", "01-a-fox-in-snow-seed-2.png", "sheet.png"):
        assert str(out / name) in result.stdout
    assert len(list(out.glob("*.png"))) == 5 and not list(out.glob(".*"))
    document = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert [picture["seed"] for picture in document["pictures"]] == [1, 2, 1, 2]
    assert document["folder"] == str(out)


def test_the_commands_errors(run: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    nowhere = runner.invoke(main, ["sample", str(tmp_path)])
    assert nowhere.exit_code == 1 and nowhere.stderr.startswith("Error: ") and nowhere.stderr.count("\n") == 1
    both = runner.invoke(main, ["sample", str(run), "--prompt", "a", "--prompts", "b"])
    assert both.exit_code == 2 and "not both" in both.stderr
    as_json = runner.invoke(main, ["sample", str(run), "--epoch", "9", "--json"])
    assert as_json.exit_code == 1 and json.loads(as_json.stderr)["error"]["type"] == "NotFound"


def test_a_contact_sheet_has_room_for_every_label() -> None:
    tiles = torch.randint(0, 255, (2, 3, 64, 64, 3), dtype=torch.uint8)
    labels = ["a very long prompt " * 30, "Donaudampfschifffahrtsgesellschaft" * 4]
    sheet = contact_sheet(tiles, labels, ["seed 1", "seed 2", f"seed {2**62}"], "run " * 100)
    assert sheet.width > 3 * 128 and sheet.height > 2 * 128
    pixels = np.asarray(sheet)
    assert (pixels[-4:] == 255).all(), "labels end within the sheet"
    enlarged = np.repeat(np.repeat(tiles[1, 2].numpy(), 2, 0), 2, 1)
    assert np.array_equal(pixels[-16 - 128 : -16, -16 - 128 : -16], enlarged)


def test_pictures_are_not_put_among_other_files(run: Path, tmp_path: Path) -> None:
    asked = ["sample", str(run), "--prompt", "a fox", "--seeds", "1", "--steps", "1"]
    out = tmp_path / "out"
    out.mkdir()
    (out / "0955ae54ab04608d.png").write_bytes(b"a snapshot's picture")
    result = CliRunner().invoke(main, [*asked, "--out", str(out)])
    assert (result.exit_code, [path.name for path in out.iterdir()]) == (1, ["0955ae54ab04608d.png"])
    assert "holds 0955ae54ab04608d.png, which isn't a sample" in result.stderr
    taken = CliRunner().invoke(main, [*asked, "--out", str(out / "0955ae54ab04608d.png")])
    assert taken.exit_code == 1 and "is a file" in taken.stderr
    (out / "0955ae54ab04608d.png").unlink()
    for _ in range(2):
        again = CliRunner().invoke(main, [*asked, "--out", str(out)])
        assert again.exit_code == 0 and "1 picture in" in again.stdout
