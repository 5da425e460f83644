"""The recipes that ship: each is read, listed, and really trains, on a miniature model with the sizes turned down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from schemas.run import RunReport
from trainer_client.cli import main
from trainer_client.config.methods import CAPTION
from trainer_client.config.recipe import read_recipe

FOLDER = Path(__file__).parents[3] / "examples" / "recipes"
RECIPES = sorted(FOLDER.glob("*.toml"))
SMALLER: dict[str, Any] = {  # What is turned down, where the recipe has it.
    "epochs": 1,
    "save_epochs": "1",
    "batch_size": 4,
    "class_images": 2,
    "resolution": 16,
    "min_side": 8,
    "max_side": 32,
}
WORDS = {"initialiser": "fox"}  # Words that the miniature knows.


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_where_it_is_from_and_how_it_is_used(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    comment = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    assert f"--recipe examples/recipes/{path.name}" in comment
    assert f"`{path.name}`" in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "base" in read_recipe(path)


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_trains(path: Path, snapshot: Path, base: Path, tmp_path: Path, cache: Path) -> None:
    recipe = read_recipe(path)
    (tmp_path / "prompts.txt").write_text("a red fox\n", encoding="utf-8")
    settings = {key: value for key, value in SMALLER.items() if key in recipe or key in ("epochs", "save_epochs")}
    settings |= {key: value for key, value in WORDS.items() if key in recipe}
    settings |= {"seeds": 1, "sample_steps": 1, "eval_timesteps": 1, "tracker": "none", "device": "cpu"}
    chosen = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    given = ["--base", str(base), "--prompts", str(tmp_path / "prompts.txt")]
    given += ["--captions", "human"] if CAPTION in recipe.get("instance_prompt", CAPTION) else []
    arguments = ["train", str(snapshot), "--recipe", str(path), *chosen, *given, "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    report = RunReport.read(tmp_path / "run" / "run.json")
    assert (report.status, len(report.epochs)) == ("complete", 1)
    for name in ("method", "ema", "learning_rate", "prior_weight", "vectors"):
        if name in recipe:
            assert report.config[name] == recipe[name]
